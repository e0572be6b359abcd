"""The shapes of the API's answers, as the client hands them on; the OpenAPI document is made from them.

Times are Unix seconds, `url`s are paths on the same server.
"""

from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic reads these before Python 3.12


class CommandAnswer(TypedDict):
    """A command as the API shows it. Times are Unix seconds."""

    id: str
    run_id: str
    kind: str
    state: str
    actor: str
    source: str
    created_at: float
    apply_at_step: int | None
    expires_at: float | None
    started_at: float | None
    finished_at: float | None
    step: int | None
    arguments: dict[str, Any]
    result: dict[str, Any] | None
    reason: str | None


class Acceptance(TypedDict):
    """What a dry run answers: this would be queued, with the run at `step`. `expires_in` is seconds."""

    accepted: bool
    run_id: str
    step: int
    kind: str
    arguments: dict[str, Any]
    apply_at_step: int | None
    expires_in: float | None


class ChangeableSetting(TypedDict):
    """One setting that can change while a run goes on."""

    name: str
    value: int | float | bool | str
    start_value: int | float | bool | str
    range: str
    meaning: str


class PendingChange(TypedDict):
    """A change of settings that is accepted and not carried out yet."""

    command_id: str
    changes: dict[str, int | float | bool | str]
    apply_at_step: int | None


class SettingsAnswer(TypedDict):
    """The settings in force, what was changed since the start, what is held against the controller, what is about to
    change, and what can be changed.
    """

    settings: dict[str, int | float | bool | str]
    changes: dict[str, int | float | bool | str]
    pins: dict[str, float]
    pending: list[PendingChange]
    changeable: list[ChangeableSetting]


class CommandList(TypedDict):
    """A page of commands, newest first; `next_cursor` leads to the next page, None on the last."""

    commands: list[CommandAnswer]
    next_cursor: str | None


class RunEntry(TypedDict):
    """One run of the control room. `directory` is None where it is not on the server's machine.

    Routes without `/runs/<run>` speak of the one that `is_default`: the run in DATA_ROOT, or where that does not exist
    or is a folder of run directories, the one that started last.
    """

    run_id: str
    run_state: str
    run_reason: str | None
    step: int
    step_max: int | None
    started_at: float
    heartbeat_at: float
    age_seconds: float
    directory: str | None
    is_default: bool
    url: str


class SkippedDirectory(TypedDict):
    """A run directory whose run is not in the list, and why: it is damaged, or a copy of another."""

    directory: str
    reason: str


class RunList(TypedDict):
    """The runs, the one that started last first, and the run directories that show none."""

    runs: list[RunEntry]
    skipped: list[SkippedDirectory]


class RecordEntry(TypedDict):
    """One saved record in the list; values are None where the record holds `null`."""

    name: str
    step: int
    size_bytes: int
    modified_at: float
    sha256: str
    trigger: str
    quality_ki_value: float | None
    quality_lr_value: float | None
    quality_improvement_value: float | None
    validation_loss_value: float | None
    psnr_ki_db: float | None
    url: str


class UnreadableFile(TypedDict):
    """A file that is named like a record and is none, and why."""

    name: str
    reason: str


class RecordList(TypedDict):
    """A page of the saved records by step as a number; `count` is how many files are named as records in all.

    `unreadable` are the files of this page's stretch of steps that are no records, or are not named as one.
    """

    records: list[RecordEntry]
    unreadable: list[UnreadableFile]
    count: int
    next_cursor: str | None


class Series(TypedDict):
    """Log points of a run: one value per name and step; None where a point has no such value."""

    run_id: str
    names: list[str]
    steps: list[int]
    times: list[float]
    values: dict[str, list[float | None]]


class EnvelopeSeries(TypedDict):
    """One value's history in stretches of steps: the means, the lowest and highest values with their steps."""

    steps: list[int]
    last_steps: list[int]
    means: list[float]
    lows: list[float]
    low_steps: list[int]
    highs: list[float]
    high_steps: list[int]
    counts: list[int]


class Envelope(TypedDict):
    """The history of values reduced to about `points` stretches of equal width, on the same grid for all values.

    `first_step` and `last_step` are the first and the last with a value, `stretch_steps` how many steps a stretch has
    at most from its first value to its last: 1 where each is one log point.
    """

    run_id: str
    names: list[str]
    first_step: int
    last_step: int
    stretch_steps: int
    series: dict[str, EnvelopeSeries]


class ComparedRecord(TypedDict):
    """One run's column of a comparison: the record at `step`, by name of value."""

    run_id: str
    step: int
    values: dict[str, Any]


class Comparison(TypedDict):
    """The same values of several runs, side by side; a run without a record at a step has no entry for it."""

    names: list[str]
    runs: list[str]
    records: list[ComparedRecord]


class PreviewEntry(TypedDict):
    """One preview picture."""

    step: int
    name: str
    size_bytes: int
    url: str


class PreviewList(TypedDict):
    """The preview pictures, newest step first."""

    previews: list[PreviewEntry]
    next_cursor: str | None


class CheckpointEntry(TypedDict):
    """One saved state. `links` holds `latest` and `best` where they point to it."""

    name: str
    step: int
    size_bytes: int
    saved_at: float
    sha256: str | None
    links: list[str]


class CheckpointList(TypedDict):
    """The saved states by step, and the folders that are none."""

    checkpoints: list[CheckpointEntry]
    unreadable: list[UnreadableFile]


class RankEntry(TypedDict):
    """What one rank is doing, as rank 0's watchdog last heard."""

    rank: int
    host: str | None
    pid: int | None
    device: str | None
    stage: str
    step: int | None
    stage_seconds: float
    age_seconds: float
    has_stack: bool


class RankList(TypedDict):
    """All ranks of a run."""

    run_id: str
    ranks: list[RankEntry]


class AlertEntry(TypedDict):
    """One alert that is on: its name, since when, and a sentence with the values."""

    name: str
    since: float
    sentence: str


class AlertList(TypedDict):
    """The alerts that are on now."""

    run_id: str
    alerts: list[AlertEntry]


class Problem(TypedDict):
    """A refusal: `application/problem+json` (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]  # none where the request could not be read


class Alive(TypedDict):
    """The process answers."""

    alive: bool


class Ready(TypedDict):
    """Commands can be obeyed."""

    ready: bool

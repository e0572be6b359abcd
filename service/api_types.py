"""Types of the API's answers, also in the OpenAPI document. Times are Unix seconds, `url`s paths on the same server."""

from typing import Annotated, Any

from typing_extensions import Doc, TypeAliasType, TypedDict  # required by pydantic before Python 3.12

from service.errors import Problem


class CommandAnswer(TypedDict):
    """A command, `why` the person asked for it, and as `problem` why it failed, was rejected or expired, or None."""

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
    why: str | None
    problem: Problem | None


class Acceptance(CommandAnswer):
    """The answer to a dry run: a command without `id` in the state `accepted`, `step` being the run's."""

    accepted: bool
    expires_in: float | None


class ChangeableSetting(TypedDict):
    """A setting that can be changed during a run."""

    name: str
    value: int | float | bool | str
    start_value: int | float | bool | str
    range: str
    meaning: str


class PendingChange(TypedDict):
    """A change of settings that is accepted, but not executed yet."""

    command_id: str
    changes: dict[str, int | float | bool | str]
    apply_at_step: int | None


class SettingsAnswer(TypedDict):
    """The effective settings, the changes since the start, the pins, the pending changes, and what can be changed."""

    settings: dict[str, int | float | bool | str]
    changes: dict[str, int | float | bool | str]
    pins: dict[str, float]
    pending: list[PendingChange]
    changeable: list[ChangeableSetting]


class CommandList(TypedDict):
    """A page of commands, newest first; `next_cursor` is the cursor of the next page, None on the last page."""

    commands: list[CommandAnswer]
    next_cursor: str | None


class RunEntry(TypedDict):
    """One run; `directory` is None if it is not on the server's machine, `quality` is the last and the best one of KI.

    Routes without `/runs/<run>` use the run with `is_default`: that in DATA_ROOT, or else the newest start.
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
    name: str | None
    note: str | None
    quality: float | None
    best_quality: float | None


class SkippedDirectory(TypedDict):
    """A run directory whose run is not listed, and the reason: it is damaged, or a copy of another one."""

    directory: str
    reason: str


class RunList(TypedDict):
    """A page of runs, newest start first, and the skipped run directories; `next_cursor` as in other lists."""

    runs: list[RunEntry]
    skipped: list[SkippedDirectory]
    next_cursor: str | None


class RecordEntry(TypedDict):
    """The list entry of one saved record; values are None where the record has `null`."""

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
    """A file or folder with the name of a record or checkpoint that is not a valid one, and the reason."""

    name: str
    reason: str


class RecordList(TypedDict):
    """A page of records in order of step, and files among them that are none; `count` is the number of all files."""

    records: list[RecordEntry]
    unreadable: list[UnreadableFile]
    count: int
    next_cursor: str | None


class Series(TypedDict):
    """Log points of a run: one value for each name and step, None if the log point has no such value."""

    run_id: str
    names: list[str]
    steps: list[int]
    times: list[float]
    values: dict[str, list[float | None]]


class EnvelopeSeries(TypedDict):
    """One value's history in buckets of steps: means, and lowest and highest values with their steps."""

    steps: list[int]
    last_steps: list[int]
    means: list[float]
    lows: list[float]
    low_steps: list[int]
    highs: list[float]
    high_steps: list[int]
    counts: list[int]


# With a name of its own: generators of clients would name the map `Envelope` + `series`, as they name EnvelopeSeries.
_Stretches = Annotated[dict[str, EnvelopeSeries], Doc("The stretches of each value, by its name.")]
StretchesByName = TypeAliasType("StretchesByName", _Stretches)


class Envelope(TypedDict):
    """The history of values as about `points` buckets of equal width, on the same grid for all values.

    `stretch_steps` are the steps from a bucket's first value to its last, at most; 1 if each bucket is one log point.
    """

    run_id: str
    names: list[str]
    first_step: int
    last_step: int
    stretch_steps: int
    series: StretchesByName


class ComparedRecord(TypedDict):
    """The values of one run's record at `step`, by name."""

    run_id: str
    step: int
    values: dict[str, Any]


class Comparison(TypedDict):
    """The same values of the records of several runs; a run without a record at a step has no entry for it."""

    names: list[str]
    runs: list[str]
    records: list[ComparedRecord]


class EventEntry(TypedDict):
    """One entry of a run's event log: its number, what happened, at which step, when (Unix seconds), and details."""

    id: int
    kind: str
    step: int
    time: float
    details: dict[str, Any]


class EventLog(TypedDict):
    """A page of a run's event log, newest first; `next_cursor` is that of the next page, None on the last page."""

    events: list[EventEntry]
    next_cursor: str | None


class PreviewEntry(TypedDict):
    """One preview image."""

    step: int
    name: str
    size_bytes: int
    url: str


class PreviewList(TypedDict):
    """The preview images, newest step first."""

    previews: list[PreviewEntry]
    next_cursor: str | None


class CheckpointEntry(TypedDict):
    """One checkpoint. `links` contains `latest` and `best` if they point to it."""

    name: str
    step: int
    size_bytes: int
    saved_at: float
    sha256: str | None
    links: list[str]


class CheckpointList(TypedDict):
    """The checkpoints in order of step, and the folders that are not valid checkpoints."""

    checkpoints: list[CheckpointEntry]
    unreadable: list[UnreadableFile]


class RankEntry(TypedDict):
    """The activity of one rank as last reported to rank 0's watchdog."""

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
    """The ranks of a run."""

    run_id: str
    ranks: list[RankEntry]


class AlertEntry(TypedDict):
    """A firing alert: its name, its start, and a sentence with the values."""

    name: str
    since: float
    sentence: str


class AlertList(TypedDict):
    """The alerts that are firing now."""

    run_id: str
    alerts: list[AlertEntry]


class Alive(TypedDict):
    """The answer of a live process."""

    alive: bool


class Ready(TypedDict):
    """The answer of a server whose run can execute commands."""

    ready: bool

"""The shapes of the API's answers, as the client hands them on. `docs/api.md` describes the routes."""

from typing import Any, TypedDict


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


class SettingsAnswer(TypedDict):
    """The settings in force, what was changed since the start, what is held against the controller, what can change."""

    settings: dict[str, int | float | bool | str]
    changes: dict[str, int | float | bool | str]
    pins: dict[str, float]
    changeable: list[ChangeableSetting]


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


class RecordList(TypedDict):
    """The saved records in the order of their steps, and the files that could not be read."""

    records: list[RecordEntry]
    unreadable: list[dict[str, str]]
    count: int


class Series(TypedDict):
    """Log points of a run: one value per name and step."""

    run_id: str
    names: list[str]
    steps: list[int]
    times: list[float]
    values: dict[str, list[float | None]]

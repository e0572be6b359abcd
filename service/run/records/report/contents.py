"""What a report shows, gathered by whoever asks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.run.ledger.answer import LedgerAnswer
from service.run.records.curves.columns import RunColumns
from service.run.records.findings.finding import Finding
from service.run.records.summary import RecordSummary


@dataclass(frozen=True)
class LogEntry:
    """Something that happened: Unix time, step (None if not known), kind, and a sentence or a part of one."""

    time: float
    step: int | None
    kind: str
    text: str
    is_intervention: bool = False


@dataclass(frozen=True)
class Preview:
    """One picture LR | KI | GT of a validation image, as the bytes of a WebP file."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Contents:
    """All that a report shows of one run.

    `best` is the record of the highest quality KI, `last` the newest. `previews` are pictures by step. `settings` are
    name, value and origin. `environment` are name and value. `ledger` is None if it is not known. `unreadable` are
    files that could not be used.
    """

    title: str
    columns: RunColumns
    best: RecordSummary | None
    last: RecordSummary | None
    findings: Sequence[Finding] = ()
    previews: Mapping[int, Sequence[Preview]] = field(default_factory=dict)
    settings: Sequence[tuple[str, Any, str]] = ()
    log: Sequence[LogEntry] = ()
    ledger: LedgerAnswer | None = None
    environment: Sequence[tuple[str, str]] = ()
    unreadable: Sequence[tuple[str, str]] = ()
    state: str = ""
    note: str = ""
    made_at: float = 0.0
    version: str = ""

"""What a command asks of a run, wherever its records are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.cli.stats.stored.history import StoredHistory
from service.run.records.files import RecordProblem
from service.run.records.findings.texts import Language
from service.run.records.report.contents import Preview
from service.run.records.report.gathering import ReadRun
from service.run.records.saved_record import SavedRecord
from service.run.records.summary import RecordSummary

Setting = tuple[str, Any, str]
"""Name, value and origin."""


class RunSource(Protocol):
    """One run. Every method of a server's run raises the errors of `Client`."""

    label: str
    """What the run is called."""
    title: str
    """Where it is: the directory, or the run's id."""

    @property
    def problems(self) -> Sequence[RecordProblem]:
        """What could not be used so far."""

    def count(self) -> int:
        """Return the greatest number of records that `summaries` can yield."""

    def records(self) -> Iterator[SavedRecord]:
        """Yield the records of the present branch in the order of their steps, one in memory at a time."""

    def summaries(self) -> Iterator[RecordSummary]:
        """Yield what most questions need of each of `records`."""

    def newest(self) -> SavedRecord | None:
        """Return the newest record that can be read; None if there is none."""

    def settings(self) -> Sequence[Setting]:
        """Return the effective settings, without secrets; nothing if they are not known."""

    def versions(self, provenance: str | None) -> Mapping[str, str]:
        """Return code and machine of the start that a record names; nothing if they are not known."""

    def previews(self, run: ReadRun) -> Mapping[int, Sequence[Preview]]:
        """Return pictures of the first validation that has some, the best and the last."""

    def environment(self, run: ReadRun) -> Sequence[tuple[str, str]]:
        """Return names and values of where the run ran."""

    def history(self, run_id: str | None, language: Language) -> StoredHistory:
        """Return state, name, note and events; raises `UserError`, `sqlite3.Error` or `ValueError`.

        `run_id` is what the newest record says, None without one.
        """


@dataclass(frozen=True)
class RunSources:
    """The runs that a command is about; `are_directories` if no server has them."""

    runs: Sequence[RunSource]
    are_directories: bool

    @property
    def problems(self) -> Sequence[RecordProblem]:
        """What could not be used so far, of all runs."""
        return [problem for run in self.runs for problem in run.problems]

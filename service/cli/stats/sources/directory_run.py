"""A run whose records lie in a directory of this machine."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from service.cli.stats.cached_records import cached_records
from service.cli.stats.sources.run_source import Setting
from service.cli.stats.stored.history import StoredHistory, own_history, shared_history
from service.run.directory import RunDirectory
from service.run.records.files import RecordProblem
from service.run.records.findings.texts import Language
from service.run.records.provenance.provenance import versions
from service.run.records.report.contents import Preview
from service.run.records.report.gathering import (
    ReadRun,
    checkpoint_names,
    environment_of,
    newest_of,
    read_previews,
    read_settings,
)
from service.run.records.saved_record import SavedRecord
from service.run.records.summary import RecordSummary


class DirectoryRun:
    """`RunSource` of a run directory."""

    def __init__(self, folder: Path, label: str, *, archived: bool = False, store_url: str = "") -> None:
        """Read `folder`, with `archived` its archive too; `store_url` is that of a store which many runs share."""
        self.label = label
        self.title = str(folder)
        self._folder = folder
        self._records = cached_records(folder, archived=archived)
        self._store_url = store_url

    @property
    def problems(self) -> Sequence[RecordProblem]:
        """What could not be used so far."""
        return self._records.problems

    def count(self) -> int:
        """Return the number of files that are named like records."""
        return len(self._records.files(self._folder))

    def records(self) -> Iterator[SavedRecord]:
        """Yield the records in the order of their steps; with `archived`, those set aside too."""
        return self._records.of(self._folder)

    def summaries(self) -> Iterator[RecordSummary]:
        """Yield what most questions need of each of `records`, from the cache where it has it."""
        return self._records.summaries(self._folder)

    def newest(self) -> SavedRecord | None:
        """Return the newest record that can be read; None if there is none."""
        return newest_of(self._records, self._folder)

    def settings(self) -> Sequence[Setting]:
        """Return the settings in `config.json`."""
        return read_settings(self._folder)

    def versions(self, provenance: str | None) -> Mapping[str, str]:
        """Return code and machine from the file of provenance that a record names."""
        return versions(self._folder, provenance)

    def previews(self, run: ReadRun) -> Mapping[int, Sequence[Preview]]:
        """Return pictures of the first validation that has some, the best and the last."""
        return read_previews(self._folder, run)

    def environment(self, run: ReadRun) -> Sequence[tuple[str, str]]:
        """Return names and values of where the run ran."""
        return environment_of(
            run,
            newest.values if (newest := self.newest()) else {},
            directory=str(self._folder),
            checkpoints=checkpoint_names(self._folder),
            versions=self.versions(run.last.values.get("provenance")) if run.last is not None else {},
        )

    def history(self, run_id: str | None, language: Language) -> StoredHistory:
        """Return what the store knows; raises `UserError`, `RunDirectoryError`, `sqlite3.Error` or `ValueError`."""
        run_id = RunDirectory(self._folder).run_id() or run_id
        if run_id is None:
            return StoredHistory()
        if self._store_url:
            return shared_history(self._store_url, run_id, language)
        return own_history(self._folder, run_id, language)

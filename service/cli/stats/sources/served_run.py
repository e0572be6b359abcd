"""A run of a server, read through the public API: nothing here knows where its files are."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from service.cli.stats.sources.run_source import Setting
from service.cli.stats.stored.history import NOT_SHOWN, StoredHistory, log_entries
from service.client.client import Client
from service.client.errors import ApiError
from service.config.loader import SECRET, plain_values
from service.config.settings import RunConfig
from service.errors import UserError
from service.run.ledger.answer import answer_of
from service.run.record import record_name
from service.run.records.files import MAX_BYTES, BadRecordError, RecordFile, RecordProblem, parse_leniently
from service.run.records.findings.texts import Language
from service.run.records.history import STEP, decode_record
from service.run.records.provenance.provenance import versions_of
from service.run.records.report.contents import Preview
from service.run.records.report.gathering import DEFAULT, ReadRun, environment_of, fitting_previews
from service.run.records.saved_record import SavedRecord
from service.run.records.summary import RecordSummary, summary_of

MAX_LISTED_PREVIEWS = 20_000
"""Of the newest pictures: the oldest of these count as those of the first validation."""
SET_LATER = "leitstand set"
"""Origin of a setting that was changed while the run went on."""
UNKNOWN_ORIGIN = "–"
"""Origin of a setting that is not the default: the API does not say whether a file or the environment had it."""


class ServedRun:
    """`RunSource` of one run of a server."""

    def __init__(self, client: Client, label: str) -> None:
        """Ask by `client`, whose run is called `label`."""
        self.label = label
        self.title = label
        self.problems: list[RecordProblem] = []
        self._client = client

    def count(self) -> int:
        """Return the number of records that the server has now."""
        return self._client.statistics(newest=1)["count"]

    def summaries(self) -> Iterator[RecordSummary]:
        """Yield the summaries of all records."""
        return map(summary_of, self.records())

    def records(self) -> Iterator[SavedRecord]:
        """Yield all records in the order of their steps, from one answer that is read while it arrives."""
        self.problems = []
        expected, received = self.count(), 0
        for line in whole_lines(self._client.export("jsonl")):
            received += 1
            try:
                yield decode_record(self._file(line), self.label, line)
            except BadRecordError as error:
                self.problems.append(RecordProblem(Path(self.label, f"record {received}"), str(error)))
        if received < expected:  # the export leaves out what is no record: the list says which, and why
            self.problems += self._unreadable()

    def newest(self) -> SavedRecord | None:
        """Return the newest record; None if there is none."""
        if not self.count():
            return None
        content = json.dumps(self._client.record("latest")).encode()
        try:
            return decode_record(self._file(content), self.label, content)
        except BadRecordError:
            return None

    def _file(self, line: bytes) -> RecordFile:
        """Return the name that the record in a line has on the server; raises `BadRecordError`."""
        step = parse_leniently(line).get(STEP)
        if type(step) is not int or step < 0:
            raise BadRecordError(f"its {STEP} is {step!r}")
        return RecordFile(Path(self.label), record_name(step), step)

    def _unreadable(self) -> list[RecordProblem]:
        pages = self._client.record_pages()
        files = (file for page in pages for file in page["unreadable"])
        return [RecordProblem(Path(self.label, file["name"]), file["reason"]) for file in files]

    def settings(self) -> Sequence[Setting]:
        """Return the settings in force, the origin of those that are not defaults as far as the API knows it."""
        answer = self._client.settings()
        defaults = plain_values(RunConfig())
        return [
            (name, value, _origin(name, answer["changes"], is_default=defaults.get(name) == value))
            for name, value in answer["settings"].items()
            if name.lower() not in SECRET
        ]

    def versions(self, provenance: str | None) -> Mapping[str, str]:
        """Return code and machine from the provenance that a record names; nothing where the server has it not."""
        try:
            return versions_of(self._client.provenance(provenance)) if provenance else {}
        except UserError:  # of an earlier version, or the run's directory is on another machine
            return {}

    def previews(self, run: ReadRun) -> Mapping[int, Sequence[Preview]]:
        """Return pictures of the first validation that has some, the best and the last; nothing if they are away."""
        steps: set[int] = set()
        with suppress(ApiError):  # the run's directory is not on the server's machine
            listed = [entry["step"] for entry in islice(self._client.previews(), MAX_LISTED_PREVIEWS)]
            steps = {*listed[:1], *listed[-1:]} | ({run.best.step} if listed and run.best is not None else set())
        names = {step: self._preview_names(step) for step in sorted(steps)}
        return fitting_previews({step: files for step, files in names.items() if files}, self._preview)

    def _preview_names(self, step: int) -> list[str]:
        return sorted(entry["name"] for entry in self._client.previews(step) if entry["name"].endswith(".webp"))

    def _preview(self, step: int, name: str) -> bytes:
        try:
            return self._client.preview(step, name)
        except ApiError:  # pruned meanwhile
            return b""

    def environment(self, run: ReadRun) -> Sequence[tuple[str, str]]:
        """Return names and values of where the run ran."""
        newest = self.newest()
        checkpoints: list[str] = []
        with suppress(ApiError):
            checkpoints = [checkpoint["name"] for checkpoint in self._client.checkpoints()["checkpoints"]]
        values = newest.values if newest else {}
        versions = self.versions(values.get("provenance"))
        return environment_of(run, values, directory=self._client.url, checkpoints=checkpoints, versions=versions)

    def history(self, run_id: str | None, language: Language) -> StoredHistory:  # noqa: ARG002 - a `RunSource` has it
        """Return the run's state, name, note and events."""
        state = self._client.state()
        newest_first = [
            (event["time"], event["step"], event["kind"], event["details"])
            for event in self._client.event_log()
            if event["kind"] not in NOT_SHOWN
        ]
        log = [*log_entries(reversed(newest_first), language)]
        return StoredHistory(
            str(state.get("run_state") or ""), state.get("run_name") or "", state.get("run_note") or "", log,
            answer_of(state),
        )  # fmt: skip


def _origin(name: str, changes: Mapping[str, object], *, is_default: bool) -> str:
    if name in changes:
        return SET_LATER
    return DEFAULT if is_default else UNKNOWN_ORIGIN


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines in chunks of bytes, without their ends; one that grows beyond MAX_BYTES comes cut off."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > MAX_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest

"""`leitstand stats verify`: whether the files of run directories are still what was written."""

import hashlib
import sqlite3
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import click

from service.cli.options import as_json_text, json_option
from service.cli.stats.stored.digests import Digests, own_digests, shared_digests
from service.cli.text_table import show_line
from service.errors import RunDirectoryError, plain_reason
from service.run.directory import RunDirectory
from service.run.records.files import BadRecordError, RecordFile, RecordProblem, find_files, read_record
from service.run.records.history import check_origin
from service.run.records.keeping.checkpoint_check import check_checkpoints, checkpoint_folders
from service.run.records.keeping.schema_check import violations
from service.run.records.saved_record import Origin

WRONG = 1
MAX_VIOLATIONS = 3
"""How many differences from the schema are named of one record."""


class Verification:
    """The check of one run directory: what is wrong, and how much was checked."""

    def __init__(self, root: Path, store_url: str = "") -> None:
        """Check everything at once; raises `UserError` if a shared store cannot be asked."""
        self.wrong: list[RecordProblem] = []
        self.with_digest = self.of_original = 0
        digests = self._digests(root, store_url)
        files, problems = find_files(root)
        self.records = len(files)
        self.without_file = len(digests.keys() - {file.step for file in files})
        self.wrong += problems
        for file in files:
            self.wrong += [RecordProblem(file.path, reason) for reason in self._reasons(file, digests)]
        self.checkpoints = len(checkpoint_folders(root))
        self.wrong += check_checkpoints(root)

    def _digests(self, root: Path, store_url: str) -> Digests:
        """Return the digests in the store; a damaged `run.json` or own store is wrong too."""
        directory = RunDirectory(root)
        try:
            run_id = directory.run_id()
        except (OSError, RunDirectoryError) as error:
            self.wrong.append(RecordProblem(directory.identity, str(error)))
            return {}
        if run_id is None:
            return {}
        try:
            return shared_digests(store_url, run_id) if store_url else own_digests(root, run_id)
        except sqlite3.Error as error:
            self.wrong.append(RecordProblem(directory.store, f"it cannot be read ({plain_reason(error)})"))
            return {}

    def _reasons(self, file: RecordFile, digests: Digests) -> Iterator[str]:
        """Yield what is wrong with a record's file."""
        try:
            raw, content = read_record(file.path)
            origin = check_origin(raw)
        except BadRecordError as error:
            yield str(error)
            return
        if origin is Origin.ORIGINAL:
            self.of_original += 1
            return
        if raw["step_current"] != file.step:
            yield f"it is of step {raw['step_current']}"
        yield from islice(violations(raw), MAX_VIOLATIONS)
        if digest := digests.get(file.step):
            self.with_digest += 1
            if hashlib.sha256(content).hexdigest() != digest:
                yield "its sha256 is not the one in the store"

    def summary(self) -> str:
        """Return how much was checked, and what was found, as one line."""
        parts = [
            f"{_counted(self.records, 'record')} ({self.with_digest} against the store)",
            _counted(self.checkpoints, "checkpoint"),
            f"{self.of_original} of the original system, which have no schema" if self.of_original else "",
            f"{self.without_file} in the store without a file" if self.without_file else "",
            f"{len(self.wrong)} wrong" if self.wrong else "nothing wrong",
        ]
        return ", ".join(filter(None, parts))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@click.command
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR..."
)
@click.option("--store-url", envvar="STORE_URL", default="", metavar="URL", help="The shared store, if there is one.")
@json_option
def verify(folders: tuple[Path, ...], store_url: str, as_json: bool) -> int:
    """Check records and checkpoints of run directories.

    Records against the schema and the sha256 in the store, checkpoints against their manifests. The exit code is 1 if
    something is wrong.
    """
    checked = {folder: Verification(folder, store_url) for folder in folders}
    wrong = list(chain.from_iterable(verification.wrong for verification in checked.values()))
    for problem in wrong:
        show_line(f"wrong: {problem.path} ({problem.reason})", err=True)
    if as_json:
        click.echo(as_json_text({str(folder): _as_json(verification) for folder, verification in checked.items()}))
    else:
        for folder, verification in checked.items():
            show_line(f"{folder}: {verification.summary()}")
    return WRONG if wrong else 0


def _as_json(verification: Verification) -> dict[str, object]:
    return {
        "records": verification.records,
        "records_with_digest": verification.with_digest,
        "records_without_file": verification.without_file,
        "checkpoints": verification.checkpoints,
        "wrong": [{"path": str(problem.path), "reason": problem.reason} for problem in verification.wrong],
    }

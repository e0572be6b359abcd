"""`leitstand export --ro-crate`: a run directory described for other programs, in a file beside its own."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.atomic_files import write_atomically
from service.cli.stats.cached_records import cached_records
from service.cli.stats.stored.events import StoredEvent, StoredRun, read_run
from service.cli.stats.tables import explained_write_errors
from service.cli.text_table import show_line
from service.commands import CommandState
from service.errors import RunDirectoryError, UserError, plain_reason
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.provenance.crate.actions import RunEnd, Start
from service.run.records.provenance.crate.crate import RunDescription, crate_document, encoded
from service.run.records.provenance.crate.entities import METADATA_FILE
from service.run.records.provenance.crate.parts import Parts, find_parts
from service.run.records.provenance.provenance import read
from service.run.records.summary import RecordSummary

FINAL = frozenset(str(state) for state in CommandState if state.is_final)


def write_crate(folder: Path, store_url: str = "", licence: str = "") -> None:
    """Write the description of a run into its directory. Raises `UserError`."""
    directory = RunDirectory(folder.resolve())
    identity = directory.read_identity()
    if identity is None:
        raise RunDirectoryError(f"{folder} holds no run; name a run directory.")
    best = _best(directory)
    try:
        parts = find_parts(directory, None if best is None else best.step)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({plain_reason(error)}); mend that.") from None
    run = _description(directory, identity, _stored(directory, identity, store_url), licence)
    target = directory.root / METADATA_FILE
    with explained_write_errors(target):
        write_atomically(target, encoded(crate_document(run, parts)))
    _tell(target, parts, run)


def _tell(target: Path, parts: Parts, run: RunDescription) -> None:
    counts = f"{len(parts.entities)} files and folders, {len(run.starts)} starts, {len(run.commands)} commands"
    show_line(f"{target}: {counts}")


def _stored(directory: RunDirectory, identity: RunIdentity, store_url: str) -> StoredRun:
    """Return what the store knows; without one, say so, and describe the files alone."""
    try:
        return read_run(directory.root, identity.run_id, store_url)
    except UserError as error:
        show_line(f"without commands: {error}", err=True)
        return StoredRun()


def _best(directory: RunDirectory) -> RecordSummary | None:
    records = cached_records(directory.root)
    with_quality = (
        item for item in records.summaries(records.folders[0]) if item.values["quality_ki_value"] is not None
    )
    return max(with_quality, key=lambda item: float(item.values["quality_ki_value"]), default=None)


def _description(directory: RunDirectory, identity: RunIdentity, stored: StoredRun, licence: str) -> RunDescription:
    provenance = _provenance(directory, identity.provenance)
    ended = [
        event.details for event in stored.events if event.kind == "command" and event.details.get("state") in FINAL
    ]
    begun = [event for event in stored.events if event.kind == "started"]
    last = _start_of_file(provenance, identity) if not begun else []
    return RunDescription(
        run_id=identity.run_id,
        published_at=time.time(),
        name=stored.name or "",
        note=stored.note or "",
        licence=licence,
        starts=[*(_start(directory, event) for event in begun), *last],
        end=RunEnd(stored.state, stored.reason, stored.heartbeat_at),
        commands=ended,
        provenance=provenance,
    )


def _start(directory: RunDirectory, event: StoredEvent) -> Start:
    sha256 = event.details.get("provenance")
    user = _provenance(directory, sha256).get("user")
    return Start(event.time, event.step, event.details.get("world_size"), sha256, user)


def _start_of_file(provenance: Mapping[str, Any], identity: RunIdentity) -> list[Start]:
    """Return the start of a run whose store is lost, as far as its provenance tells."""
    step = identity.parent_step or 0
    return [Start(None, step, provenance.get("world_size"), identity.provenance, provenance.get("user"))]


def _provenance(directory: RunDirectory, sha256: str | None) -> Mapping[str, Any]:
    try:
        return read(directory, sha256) if sha256 else {}
    except (OSError, ValueError, RecursionError):
        return {}

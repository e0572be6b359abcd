"""Forks a run: a new run folder, with an id of its own, that goes on from a checkpoint of another run.

The new folder gets the checkpoint, and the records, previews and curves up to its step. It is made under a temporary
name and renamed once it is complete. Nothing of the parent is changed.
"""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from service.atomic_files import TEMPORARY_PREFIX, read_small_file, replace_link, sha256_of, sync_folder
from service.errors import RunDirectoryError
from service.run.building import building_folder, finish
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity, new_run_id
from service.run.record import list_records
from service.run.state import RunState
from service.store.store import Store, StoreUnavailableError

MANIFEST_FILE, STATE_FILE = "manifest.json", "state.pt"
LINKS = ("latest", "best")
PAGE_SIZE = 1000

_NAME = re.compile("step_([0-9]{7,18})")


@dataclass(frozen=True)
class Fork:
    """A forked run: its identity, and the numbers of records and log points that it got from its parent."""

    identity: RunIdentity
    records: int
    log_points: int


def fork_run(parent: RunDirectory, target: Path, checkpoint: str = "latest", store_url: str = "") -> Fork:
    """Fork the run in `parent` at one of its checkpoints (`latest`, `best`, a step or a name) into the folder `target`.

    With `store_url`, the new run is registered there, and a parent without a store of its own is looked up there.
    Raises `RunDirectoryError`.
    """
    identity = parent.read_identity()
    if identity is None:
        raise RunDirectoryError(f"{parent.root} holds no run; name a run folder.")
    _require_new(target, parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with building_folder(target) as temporary:
            fork = _make(parent, identity, RunDirectory(temporary), checkpoint, store_url)
            finish(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise RunDirectoryError(f"{target} cannot be made ({error.strerror}); choose another folder.") from error
    return fork


def _require_new(target: Path, parent: RunDirectory) -> None:
    """Raise `RunDirectoryError` unless the target is an empty or new folder outside the parent."""
    if target.resolve().is_relative_to(parent.root.resolve()):
        raise RunDirectoryError(f"{target} lies in the folder of the forked run; choose a folder outside of it.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunDirectoryError(f"{target} exists and is not an empty folder; choose another.")


def _make(parent: RunDirectory, identity: RunIdentity, target: RunDirectory, checkpoint: str, store_url: str) -> Fork:
    """Fill the new folder. Raises `OSError` or `RunDirectoryError`."""
    step = _copy_checkpoint(parent.checkpoints, target.checkpoints, checkpoint)
    fork = RunIdentity(new_run_id(), last_checkpoint=step, parent_run=identity.run_id, parent_step=step)
    target.write_identity(fork)
    records = _copy_records(parent, target, step)
    with _store_of(parent, target, store_url) as source, closing(_new_store(target, store_url)) as store:
        log_points = _copy_rows(source, store, identity.run_id, fork)
    sync_folder(target.root)
    return Fork(fork, records, log_points)


# Checkpoints


def _copy_checkpoint(source: Path, target: Path, wanted: str) -> int:
    """Copy the newest whole checkpoint that was meant, and link it; return its step."""
    target.mkdir()
    problem = f"there is no checkpoint {wanted!r} in {source}"
    for name in _candidates(source, wanted):
        shutil.rmtree(target / name, ignore_errors=True)
        try:
            shutil.copytree(source / name, target / name)
        except (OSError, shutil.Error):  # pruned while it was copied
            continue
        manifest = _verified_manifest(target / name)
        if manifest is not None:
            for link in ("latest", "best") if manifest.get("is_best") else ("latest",):
                replace_link(target / link, name)
            sync_folder(target)
            return int(manifest["step"])
        problem = f"checkpoint {name} is not what its manifest says"
        shutil.rmtree(target / name)
    raise RunDirectoryError(f"The run cannot be forked: {problem}; choose one of: {_known(source)}.")


def _candidates(source: Path, wanted: str) -> list[str]:
    """Return the names of the checkpoints that `wanted` may mean, the best choice first."""
    names = _names(source)
    if wanted == "latest":
        return names
    try:
        wanted = os.readlink(source / wanted) if wanted in LINKS else wanted
    except OSError:
        return []
    return [name for name in names if wanted in {name, str(_step(name))}]


def _names(source: Path) -> list[str]:
    """Return the names of all checkpoints, the newest first."""
    names = (path.name for path in source.iterdir()) if source.is_dir() else ()
    return sorted(filter(_NAME.fullmatch, names), key=_step, reverse=True)


def _step(name: str) -> int:
    return int(name.removeprefix("step_"))


def _known(source: Path) -> str:
    """Return the steps whose checkpoints can be used, the newest first."""
    whole = (name for name in _names(source) if _verified_manifest(source / name) is not None)
    return ", ".join(str(_step(name)) for name in whole) or "none is there that is whole"


def _verified_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a checkpoint, or None if the state does not match it."""
    try:
        manifest: dict[str, Any] = json.loads(read_small_file(folder / MANIFEST_FILE))
        is_whole = manifest["sha256"] == sha256_of(folder / STATE_FILE) and manifest["step"] == _step(folder.name)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if is_whole else None


# Records and curves


def _copy_records(parent: RunDirectory, target: RunDirectory, step: int) -> int:
    """Copy the records up to a step, byte for byte, and their previews; return the number of records."""
    copied = [path for saved_step, path in list_records(parent.root) if saved_step <= step]
    for path in copied:
        shutil.copy2(path, target.root / path.name)
    for saved_step, _ in list_records(target.root):
        previews = parent.previews / f"step_{saved_step}"
        if previews.is_dir():
            shutil.copytree(previews, target.previews / previews.name)
    return len(copied)


def _new_store(target: RunDirectory, store_url: str) -> Store:
    return Store(store_url) if store_url else Store(target.store, create=True)


@contextmanager
def _store_of(parent: RunDirectory, target: RunDirectory, store_url: str) -> Iterator[Store | None]:
    """Open a copy of the parent's own store, or else the database server; yields None if there is neither."""
    if not _has_own_store(parent):
        with closing(Store(store_url)) if store_url else nullcontext() as server:
            yield server
        return
    copy = target.root / f"{TEMPORARY_PREFIX}parent.db"
    address = f"file:{quote(os.fsencode(parent.store))}?mode=rw"  # never makes a file
    with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(copy)) as backup:
        source.backup(backup)
    with closing(Store(copy)) as store:
        yield store
    for path in copy.parent.glob(f"{copy.name}*"):
        path.unlink()


def _has_own_store(parent: RunDirectory) -> bool:
    """Return True if the parent reports to the store in its folder, not to a database server."""
    try:
        uses_server = bool(json.loads(read_small_file(parent.config))["settings"].get("STORE_URL"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        uses_server = False
    return parent.store.is_file() and not uses_server


def _copy_rows(source: Store | None, store: Store, parent: str, fork: RunIdentity) -> int:
    """Register the new run, and copy the parent's log points and copies of records; return the number of log points.

    Raises `RunDirectoryError` if a store cannot be read or written.
    """
    step = fork.parent_step or 0
    try:
        row = None if source is None else source.runs.get(parent)
        store.open_run(fork.run_id, {} if row is None else row.config)
        log_points = 0 if source is None else _copy_points(source, store, parent, fork.run_id, step)
        if source is not None:
            _copy_copies(source, store, parent, fork.run_id, step)
        reason = f"forked from run {parent} at step {step}; ready to resume"
        store.runs.update(fork.run_id, state=RunState.STOPPED.value, reason=reason, step=step)
        store.events.add(fork.run_id, step, "forked", {"parent_run": parent, "parent_step": step})
    except StoreUnavailableError as error:
        raise RunDirectoryError(f"The run cannot be forked, because its store cannot be used: {error}.") from error
    return log_points


def _copy_points(source: Store, store: Store, parent: str, run_id: str, step: int) -> int:
    """Copy the log points up to a step; return their number."""
    after, count = -1, 0
    while page := [row for row in source.series.find_after(parent, after, PAGE_SIZE) if row.step <= step]:
        store.series.add(run_id, page)
        after, count = page[-1].step, count + len(page)
    return count


def _copy_copies(source: Store, store: Store, parent: str, run_id: str, step: int) -> None:
    """Copy the copies of records up to a step."""
    after = -1
    while page := [row for row in source.records.find(parent, after_step=after, limit=PAGE_SIZE) if row.step <= step]:
        for row in page:
            store.records.add(run_id, row.step, row.record, row.sha256)
        after = page[-1].step

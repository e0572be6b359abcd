"""Copies records from their files into a store that lacks them: it was emptied, restored from a backup, or is new."""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ddp.recording.store_writer import StoreWriter
from service.run.directory import RunDirectory
from service.run.record import list_records
from service.run.records.keeping.packing import read_saved
from service.store.store import Store

BATCH_SIZE = 50
"""Records that are copied before the heartbeat and commands have their turn again."""
NO_LIMIT = 2**31 - 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _RecordFile:
    """A record's file; its copy belongs to `run_id`. `known_sha256` is that of the copy that there is, or None."""

    run_id: str
    step: int
    path: Path
    known_sha256: str | None


class RecordCopies:
    """The records of a run, and of its abandoned branches, that have a file but no copy in the store."""

    def __init__(self, store: Store, directory: RunDirectory, run_id: str) -> None:
        self._store = store
        self._directory = directory
        self._run_id = run_id
        self._files: deque[_RecordFile] = deque()
        self._copied = 0

    def find(self, *, compares: bool = False) -> int:
        """Look for records without a copy, and with `compares` also for copies that differ; return how many have none.

        Raises `StoreUnavailableError`.
        """
        self._files.clear()
        for run_id, folder in self._folders():
            versions = self._store.records.find_versions(run_id, limit=NO_LIMIT)
            copies = {version.step: version.sha256 for version in versions}
            with suppress(OSError):
                files = [_RecordFile(run_id, step, path, copies.get(step)) for step, path in list_records(folder)]
                self._files.extend(file for file in files if compares or file.known_sha256 is None)
        return sum(file.known_sha256 is None for file in self._files)

    def queue_some(self, writes: StoreWriter) -> None:
        """Queue the copies of the next BATCH_SIZE files; unreadable files and those of other runs are left out."""
        had_files = bool(self._files)
        for _ in range(min(BATCH_SIZE, len(self._files))):
            file = self._files.popleft()
            with suppress(OSError, ValueError):
                content, saved_at = read_saved(file.path), file.path.stat().st_mtime
                record, sha256 = json.loads(content), hashlib.sha256(content).hexdigest()
                if sha256 != file.known_sha256 and self._is_own(record):
                    restored = {"step": file.step, "record": record, "sha256": sha256, "saved_at": saved_at}
                    writes.add(partial(_restore, file.run_id, restored))
                    self._copied += 1
        if had_files and not self._files and self._copied:
            logger.info("%d records that the store lacked were copied from their files.", self._copied)
            self._copied = 0

    def _folders(self) -> Iterator[tuple[str, Path]]:
        """Yield the run and its abandoned branches, each with the folder of its records."""
        yield self._run_id, self._directory.root
        for way in ("branch", "after"):
            for folder in sorted(self._directory.archive_folder.glob(f"{self._run_id}-{way}-*")):
                yield folder.name, folder

    def _is_own(self, record: Any) -> bool:
        return isinstance(record, dict) and record.get("run_id", self._run_id) == self._run_id


def _restore(run_id: str, restored: dict[str, Any], store: Store) -> None:
    store.records.restore(run_id, **restored)

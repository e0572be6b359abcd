"""Packing and thinning out the records of a run while it is trained, a few at a time, as its settings say.

Only records up to the oldest checkpoint are touched: a rollback or a resume moves later ones.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from service.background_thread import BackgroundThread, ErrorBoundary
from service.errors import plain_reason
from service.run.record import PACKED
from service.run.records.files import find_files
from service.run.records.history import Records
from service.run.records.keeping.packing import pack
from service.run.records.keeping.pruning import (
    Candidate,
    PruneRule,
    archive_records,
    candidate_of,
    checkpoint_steps,
    report_steps,
    to_prune,
)
from service.run.records.summary import summary_of

INTERVAL_SECONDS = 60.0
MAX_FILES = 50
"""Packed or moved in one go: a long backlog takes some minutes, and no second of the disk at once."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeepingRule:
    """Which records are left alone: all if `pack_after` and `keep_every` are 0.

    All but the newest `pack_after` are packed. Of all but the newest `keep_last`, those whose step is no multiple of
    `keep_every` are moved to the archive.
    """

    pack_after: int = 0
    keep_every: int = 0
    keep_last: int = 100


class RecordKeeper:
    """Applies a rule to the records of one run directory. `run` is for one thread."""

    def __init__(self, root: Path, rule: KeepingRule) -> None:
        self._root = root
        self._rule = rule
        self._known: dict[str, Candidate] = {}
        self._left: set[Path] = set()
        """What could not be packed: it is said once, and keeps no other record waiting."""

    def run(self) -> None:
        """Pack and move up to MAX_FILES records each. Raises `OSError`."""
        checkpoints = checkpoint_steps(self._root)
        if not checkpoints:
            return
        if self._rule.keep_every:
            self._prune(min(checkpoints), checkpoints)
        if self._rule.pack_after:
            self._pack(min(checkpoints))

    def _prune(self, oldest_checkpoint: int, checkpoints: set[int]) -> None:
        candidates = self._candidates()
        rule = PruneRule(self._rule.keep_every, self._rule.keep_last)
        named = checkpoints | report_steps(self._root)
        pruned = [one for one in to_prune(candidates, rule, named) if one.step <= oldest_checkpoint][:MAX_FILES]
        if pruned:
            folder = archive_records(self._root, pruned)
            logger.info("%d records were moved to %s.", len(pruned), folder)

    def _candidates(self) -> list[Candidate]:
        """Return what pruning needs of every record; each file is read once."""
        records = Records(self._root)
        files = {file.name.removesuffix(PACKED): file for file in records.files(self._root)}
        self._known = {name: one for name, one in self._known.items() if name in files}
        for name, file in files.items():
            if name not in self._known and (record := records.load(file, self._root)):
                self._known[name] = candidate_of(summary_of(record))
        return sorted((self._present(files[name].path, one) for name, one in self._known.items()), key=lambda c: c.step)

    def _present(self, path: Path, one: Candidate) -> Candidate:
        """Return a candidate with its present path: it may have been packed since."""
        return Candidate(path, one.step, one.saved_at, one.quality, one.scale, one.size_bytes)

    def _pack(self, oldest_checkpoint: int) -> None:
        files, _ = find_files(self._root)
        old = files[: len(files) - self._rule.pack_after]
        unpacked = [file.path for file in old if not file.name.endswith(PACKED) and file.step <= oldest_checkpoint]
        for path in [path for path in unpacked if path not in self._left][:MAX_FILES]:
            self._pack_one(path)

    def _pack_one(self, path: Path) -> None:
        try:
            is_packed = pack(path) is not None
        except (OSError, ValueError) as error:
            logger.warning("%s is left unpacked: %s.", path.name, plain_reason(error))
            is_packed = False
        if not is_packed:
            self._left.add(path)


def start_keeping(root: Path, rule: KeepingRule) -> BackgroundThread | None:
    """Apply a rule every INTERVAL_SECONDS on a thread of its own; returns None if there is nothing to do."""
    if not (rule.pack_after or rule.keep_every):
        return None
    thread = BackgroundThread(
        "record-keeper", RecordKeeper(root, rule).run, boundary=ErrorBoundary(logger, once=True),
        error_message="Old records could not be packed or moved", interval_seconds=INTERVAL_SECONDS,
        runs_immediately=True,
    )  # fmt: skip
    thread.start()
    return thread

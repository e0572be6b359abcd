"""Rollups kept in memory, so that a long curve is read from the store once and then only continued.

Each run's progress has a token, which the writer replaces whenever a rollup before the end of the progress may become
another or vanish: late log points, a rollback, a repair, each start of a trainer. Rollups that were read under a token
hold for as long as the store shows the same one in the same transaction. It is random, so whatever store is at a path,
and whichever process has read it, equal tokens mean equal rollups.
"""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from uuid import uuid4

MAX_KEPT_BYTES = 64 * 1024 * 1024
ROW_BYTES = 300
"""What a rollup takes in memory beside its bytes; its names are the same object in nearly all of a run."""

Rollup = tuple[int, str, bytes]
"""Index, names as JSON, and packed buckets."""


def new_token(started_at: float | None) -> str:
    """Return a new token for a run that was started last at this Unix time, None for a branch."""
    return f"{uuid4().hex} {started_at!r}"


def holds(token: str | None, started_at: float | None) -> bool:
    """Return whether a token holds for the run's present start.

    A trainer of an earlier version replaces no tokens, but it starts the run.
    """
    return token is not None and token.endswith(f" {started_at!r}")


@dataclass(frozen=True)
class _Kept:
    """All rollups there are with an index in `indices`, in their order."""

    indices: range
    rollups: Sequence[Rollup]
    byte_count: int

    @classmethod
    def of(cls, indices: range, rollups: Sequence[Rollup]) -> "_Kept":
        return cls(indices, rollups, sum(len(content) + ROW_BYTES for _, _, content in rollups))

    def between(self, indices: range) -> Sequence[Rollup]:
        places = (bisect_left(self.rollups, index, key=itemgetter(0)) for index in (indices.start, indices.stop))
        return self.rollups[slice(*places)]


class RollupCache:
    """At most `max_bytes` of rollups by token and level, the most recently used ones; thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._names: dict[str, str] = {}

    def get(
        self, token: str, level: int, indices: range, read: Callable[[range], Sequence[Rollup]]
    ) -> Sequence[Rollup]:
        """Return the rollups of a level with these indices; those that are not kept are `read` and kept.

        All indices must be before the end of the progress that has the token.
        """
        with self._lock:
            kept = self._kept.get((token, level))
        if kept is None or indices.start > kept.indices.stop or indices.stop < kept.indices.start:
            kept = _Kept.of(indices, self._read(indices, read))
        elif not (kept.indices.start <= indices.start and indices.stop <= kept.indices.stop):
            before, after = range(indices.start, kept.indices.start), range(kept.indices.stop, indices.stop)
            rollups = [*self._read(before, read), *kept.rollups, *self._read(after, read)]
            whole = range(min(indices.start, kept.indices.start), max(indices.stop, kept.indices.stop))
            kept = _Kept.of(whole, rollups)
        self._keep((token, level), kept)
        return kept.between(indices)

    @property
    def byte_count(self) -> int:
        """About how much memory the rollups take, in bytes."""
        with self._lock:
            return sum(kept.byte_count for kept in self._kept.values())

    def _read(self, indices: range, read: Callable[[range], Sequence[Rollup]]) -> list[Rollup]:
        if not indices:
            return []
        return [(index, self._names.setdefault(names, names), content) for index, names, content in read(indices)]

    def _keep(self, key: tuple[str, int], kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            total = sum(one.byte_count for one in self._kept.values())
            while total > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                total -= dropped.byte_count
            if len(self._names) > 4 * len(self._kept) + 64:
                self._names.clear()


KEPT = RollupCache(MAX_KEPT_BYTES)
"""Those of this process."""

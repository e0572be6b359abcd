"""When to look into the store again: at once after another process wrote to it, and a few times more after that.

A write shows in an SQLite file before it can be read: between the two SQLite waits for the disk. Who looks only once,
at the first sign of it, reads the state before, and then sees no further sign. A PostgreSQL server tells of a write
when it can be read; there the further looks are for notices that got lost.
"""

from service.store.database import Database

PAUSES_SECONDS = (0.02, 1.0)
"""After a change the pauses between looks double from the first to the second of these."""


class ChangePoller:
    """One reader's view of the store; a question costs one `stat` or less, no query."""

    def __init__(self, store: Database, run_id: str) -> None:
        """Changes of other runs in a store of many need not be told."""
        self._store = store
        self._run_id = run_id
        self._stamp: tuple[int, int] | None = None
        self._pause_seconds = 0.0
        self._look_at = 0.0

    def is_due(self, now: float) -> bool:
        """Whether to look at `now`, in seconds of a monotonic clock; taken to be done when it says so."""
        stamp = self._store.change_stamp(self._run_id)
        has_changed = stamp != self._stamp
        if not has_changed and now < self._look_at:
            return False
        first, longest = PAUSES_SECONDS
        next_pause = first if has_changed else min(2 * self._pause_seconds, longest)
        self._pause_seconds = next_pause if self._store.shows_writes_early else longest
        self._stamp, self._look_at = stamp, now + self._pause_seconds
        return True

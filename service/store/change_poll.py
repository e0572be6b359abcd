"""Decides when a reader queries the store again: at once after a write of any process, then with growing pauses.

With SQLite, the write-ahead log changes before the data become visible, because SQLite waits for the disk in between. A
reader that queried only once, at the first change, would read the old state and see no further change. PostgreSQL
sends a notification when the data are visible; there the repeated queries make up for lost notifications.
"""

from service.store.database import Database

PAUSES_SECONDS = (0.02, 1.0)
"""Shortest and longest pause between queries; after a change the pause grows from the first to the second."""
GROWTH = 3


class ChangePoller:
    """Polling schedule of one reader of the store; each check costs at most one `stat` call and no query."""

    def __init__(self, store: Database, run_id: str) -> None:
        """Watch one run; in a store of many runs, changes of other runs may go unnoticed."""
        self._store = store
        self._run_id = run_id
        self._stamp: tuple[int, int] | None = None
        self._pause_seconds = 0.0
        self._next_query_at = 0.0

    def is_due(self, now: float) -> bool:
        """Return True if the reader should query at `now` (seconds of a monotonic clock), and assume that it does."""
        stamp = self._store.change_stamp(self._run_id)
        has_changed = stamp != self._stamp
        if not has_changed and now < self._next_query_at:
            return False
        first, longest = PAUSES_SECONDS
        next_pause = first if has_changed else min(GROWTH * self._pause_seconds, longest)
        self._pause_seconds = next_pause if self._store.shows_writes_early else longest
        self._stamp, self._next_query_at = stamp, now + self._pause_seconds
        return True

"""The ledgers of runs, added up from the table `events`: each event is read once, however often one is asked for."""

import threading
import time
from collections import OrderedDict

import sqlalchemy as sa

from service.run.ledger.answer import LedgerAnswer
from service.run.ledger.last_seen import LastSeen, last_seen_as_dict
from service.run.ledger.ledger import KINDS, RunLedger
from service.run.state import RunState
from service.store.database import Database
from service.store.queries.events import Event
from service.store.queries.runs import RunRow
from service.store.tables import events

MAX_LEDGERS = 4096
"""Number of runs whose ledger is kept in memory."""
PAGE_SIZE = 2000
"""Events read at a time."""
FRESH_SECONDS = 2.0
"""While the run's row is the same, its events are looked at again only after so long: a trainer writes them with it."""


class LedgerQueries:
    """Ledgers of the most recently used runs; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._ledgers: OrderedDict[str, _KeptLedger] = OrderedDict()

    def of(self, run: RunRow, now: float) -> LedgerAnswer:
        """Return the ledger of a run at the time `now` of its trainer's clock; raises `StoreUnavailableError`.

        If the store's file is gone, as it was known last.
        """
        return self._kept(run.id).answer(self._database, run, is_lost=run.reported_state(now) is RunState.LOST)

    def last_known(self, run: RunRow, now: float) -> LedgerAnswer:
        """Return the ledger of a run as far as it has been read, with its row as it is."""
        return self._kept(run.id).answer(None, run, is_lost=run.reported_state(now) is RunState.LOST)

    def _kept(self, run_id: str) -> "_KeptLedger":
        with self._lock:
            kept = self._ledgers.pop(run_id, None) or _KeptLedger()
            self._ledgers[run_id] = kept
            while len(self._ledgers) > MAX_LEDGERS:
                self._ledgers.popitem(last=False)
            return kept


class _KeptLedger:
    """The ledger of one run, up to the last event that was read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledger = RunLedger()
        self._last_event_id = 0
        self._read_at = float("-inf")
        self._asked: tuple[RunRow, bool] | None = None
        self._answer = LedgerAnswer()

    def answer(self, database: Database | None, run: RunRow, *, is_lost: bool) -> LedgerAnswer:
        """Return the ledger of the run as its row is, with new events if there is a database to read them from."""
        with self._lock:
            is_same, is_old = self._asked == (run, is_lost), time.monotonic() - self._read_at > FRESH_SECONDS
            if not is_same or is_old:
                has_news = database is not None and database.exists() and self._read(database, run.id)
                if has_news or not is_same:
                    self._answer = self._ledger.answer(seen_of(run), is_lost=is_lost)
                self._asked = None if database is None else (run, is_lost)
            return self._answer

    def _read(self, database: Database, run_id: str) -> bool:
        """Take in new events; return whether there were any."""
        first_id, is_complete = self._last_event_id, False
        while not is_complete:
            wanted = (events.c.run_id == run_id) & (events.c.id > self._last_event_id) & events.c.kind.in_(KINDS)
            query = sa.select(events).where(wanted).order_by(events.c.id).limit(PAGE_SIZE)
            with database.transaction() as connection:
                found = [Event(**row._asdict()) for row in connection.execute(query)]
            for event in found:
                self._ledger.apply(event)
                self._last_event_id = event.id
            is_complete = len(found) < PAGE_SIZE
        self._read_at = time.monotonic()
        return self._last_event_id > first_id


def seen_of(run: RunRow) -> LastSeen | None:
    """Return what a run's row tells of its present start."""
    return LastSeen.parse(
        last_seen_as_dict(
            state=run.state, reason=run.reason, step=run.step, heartbeat_at=run.heartbeat_at,
            started_at=run.started_at, facts=run.facts,
        )
    )  # fmt: skip

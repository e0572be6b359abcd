"""Ends ranks that hang, by setting: the launcher then starts all ranks again, as after any rank that was killed.

A rank is ended by SIGKILL, which also ends one that is stopped. The others lose their connections to it, leave the
state of their last finished step where they can, and end. Who orders it may be on another machine than the rank that
hangs: the order is in the status store, and every rank's watchdog carries it out for its own machine.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddp.distributed.status_store import StatusStore
from ddp.watchdog import processes
from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stall_detection import Stall
from service.config.timeouts import ESCALATION_FACTOR, ORDER_SECONDS

KIND = "hang ended"
"""Kind of the event."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """Ranks that are ended because they hang, and the sentence about that."""

    ranks: tuple[int, ...]
    reason: str

    def tell(self, report: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Log it, and call `report` with the event's kind and details."""
        logger.error("%s", self.reason)
        report(KIND, {"ranks": list(self.ranks), "reason": self.reason})


class Escalation:
    """Ends the ranks of a stall that lasts; one per rank, for its watchdog's thread."""

    def __init__(self, status_store: StatusStore, own: tuple[int, str], is_wanted: Callable[[], bool]) -> None:
        """`own` is (process id, host) of this rank."""
        self._status_store = status_store
        self._pid, self._host = own
        self._is_wanted = is_wanted
        self._ordered_at: float | None = None

    def is_due(self, stall: Stall) -> bool:
        """Return whether a stall has lasted so long that its ranks are to be ended now, and that is wanted."""
        return self._is_wanted() and stall.seconds > ESCALATION_FACTOR * stall.limit_seconds

    def begin(self, stall: Stall, statuses: Sequence[RankStatus]) -> Ended | None:
        """Return the ranks to end, unless that was ordered before: if it has not helped, end this rank."""
        if self._ordered_at is not None:
            if time.monotonic() - self._ordered_at > ORDER_SECONDS:
                logger.error("The ranks that hang could not be ended where they run; this rank ends instead.")
                processes.kill(self._pid)
            return None
        self._ordered_at = time.monotonic()
        ranks = tuple(status.rank for status in _victims(stall, statuses))
        who = " and ".join(map(str, ranks))
        seconds = f"{stall.seconds:.0f} s"
        name, verb = ("Rank", "is") if len(ranks) == 1 else ("Ranks", "are")
        return Ended(
            ranks, f"{name} {who} {verb} ended after a hang of {seconds} (STALL_ACTION=restart): all ranks start again."
        )

    def carry_out(self, ended: Ended, statuses: Sequence[RankStatus]) -> None:
        """Order the end of ranks, and end those on this machine, this rank last.

        Raises `StatusStoreUnavailableError` after that.
        """
        victims = [status for status in statuses if status.rank in ended.ranks]
        order = json.dumps([[status.host, status.pid] for status in victims])
        try:
            self._status_store.give_order(order)
        finally:
            self._obey(order)

    def obey(self) -> None:
        """Carry out an order that another rank has given. Raises `StatusStoreUnavailableError`."""
        if self._is_wanted() and (order := self._status_store.read_order()) is not None:
            self._obey(order)

    def _obey(self, order: str) -> None:
        own_machine = [pid for host, pid in json.loads(order) if host == self._host and pid is not None]
        for pid in sorted(own_machine, key=lambda pid: pid == self._pid):
            processes.kill(pid)


def _victims(stall: Stall, statuses: Sequence[RankStatus]) -> list[RankStatus]:
    """Return the ranks that stall; of ranks that all wait for each other the last, since rank 0 has most to write."""
    if stall.rank is None:
        return [max(statuses, key=lambda status: status.rank)]
    return [status for status in statuses if status.rank in {stall.rank, *stall.also}]

"""How long a run's commands waited from their acceptance until they began, counted by the store.

command_delays(store, run_id)      the API, once per scrape
"""

from dataclasses import dataclass
from itertools import accumulate

import sqlalchemy as sa

from service.store import Store
from service.tables import commands

BOUNDS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True)
class CommandDelays:
    """`counts` says how many waited no longer than each of BOUNDS_SECONDS, `count` how many there are in all."""

    counts: tuple[int, ...]
    count: int
    total_seconds: float


def command_delays(store: Store, run_id: str) -> CommandDelays:
    """The delays of all commands that have begun, but of those that had a step to wait for.

    Raises `StoreUnavailableError`.
    """
    delay = commands.c.started_at - commands.c.created_at
    seconds = sa.case((delay > 0, delay), else_=0.0)  # a clock may have been set back in between
    size = sa.case(*((delay <= bound, place) for place, bound in enumerate(BOUNDS_SECONDS)), else_=len(BOUNDS_SECONDS))
    has_begun = commands.c.started_at.is_not(None) & commands.c.apply_at_step.is_(None)
    query = sa.select(size, sa.func.count(), sa.func.sum(seconds)).where((commands.c.run_id == run_id) & has_begun)
    with store.transaction() as connection:
        rows = connection.execute(query.group_by(sa.text("1"))).all()
    sizes = {place: count for place, count, _ in rows}
    within = tuple(accumulate(sizes.get(place, 0) for place in range(len(BOUNDS_SECONDS))))
    return CommandDelays(within, sum(sizes.values()), sum(float(total) for *_, total in rows))

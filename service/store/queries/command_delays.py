"""How long commands waited until the trainer began them, for all commands of a run."""

from dataclasses import dataclass
from itertools import accumulate

import sqlalchemy as sa

from service.store.tables import commands

DELAY_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histogram of delays."""


@dataclass(frozen=True)
class CommandDelays:
    """Cumulative histogram of the time from acceptance to start.

    `counts` has the number of commands with a delay up to each of DELAY_BUCKETS_SECONDS, `count` is the total number.
    """

    counts: tuple[int, ...]
    count: int
    total_seconds: float


def command_delays(connection: sa.Connection, run_id: str) -> CommandDelays:
    """Return the delays of all commands that have started, except those with an `apply_at_step`."""
    delay = commands.c.started_at - commands.c.created_at
    seconds = sa.case((delay > 0, delay), else_=0.0)  # the clock may have been set back in between
    bucket = sa.case(
        *((delay <= bound, index) for index, bound in enumerate(DELAY_BUCKETS_SECONDS)),
        else_=len(DELAY_BUCKETS_SECONDS),
    )
    condition = (commands.c.run_id == run_id) & commands.c.started_at.is_not(None) & commands.c.apply_at_step.is_(None)
    query = sa.select(bucket, sa.func.count(), sa.func.sum(seconds)).where(condition)
    rows = connection.execute(query.group_by(sa.text("1"))).all()
    counts = {index: count for index, count, _ in rows}
    cumulative = tuple(accumulate(counts.get(index, 0) for index in range(len(DELAY_BUCKETS_SECONDS))))
    return CommandDelays(cumulative, sum(counts.values()), sum(float(total) for *_, total in rows))

"""`/ranks`: what every rank is doing, and where in the program it is: the place to look when a training hangs."""

import time

from flask import Blueprint, Response

from api.http.operation import Answer, Scope, operation
from api.http.parameters import PathParameter
from api.http.problems import ProblemError
from api.runs.context import current_run_context
from service.api_types import RankEntry, RankList
from service.store.queries.ranks import RankRow

RANK = PathParameter("rank", "a rank, from 0", {"type": "integer", "minimum": 0})

blueprint = Blueprint("ranks", __name__)


@blueprint.get("/ranks")
@operation(
    Scope.READ,
    answers=[Answer(RankList, "the ranks, none before the first report")],
    problems=["no-run", "storage-unavailable"],
)
def list_all() -> RankList:
    """All ranks of the current run, as rank 0's watchdog last saw them; none before its first report."""
    context = current_run_context()
    run = context.run()
    now = context.now(run)
    return {"run_id": run.id, "ranks": [_entry(row, now) for row in context.store.ranks.find(run.id)]}


@blueprint.get("/ranks/<rank>/stack")
@operation(
    Scope.READ,
    RANK,
    answers=[Answer(media_type="text/plain", description="the stack, innermost call last")],
    problems=["not-found", "no-run", "storage-unavailable"],
)
def show_stack(rank: str) -> Response:
    """The Python stack of a rank's training thread, below one line that says when it was taken."""
    context = current_run_context()
    run = context.run()
    row = _find(rank, context.store.ranks.find(run.id))
    if row.stack is None or row.stacked_at is None:
        raise ProblemError("not-found", f"Rank {row.rank} has not sent a stack yet; ask again in ten seconds.")
    return Response(f"{_heading(row, row.stacked_at, context.now(run))}\n{row.stack}", mimetype="text/plain")


def _entry(row: RankRow, now: float) -> RankEntry:
    return {
        "rank": row.rank,
        "host": row.host,
        "pid": row.pid,
        "device": row.device,
        "stage": row.stage,
        "step": row.step,
        "stage_seconds": row.stage_seconds,
        "age_seconds": max(0.0, now - row.time),
        "has_stack": row.stack is not None,
    }


def _find(rank: str, rows: list[RankRow]) -> RankRow:
    for row in rows:
        if str(row.rank) == rank:
            return row
    known = f"there are: {', '.join(str(row.rank) for row in rows)}" if rows else "none has reported yet"
    raise ProblemError("not-found", f"There is no rank {rank!r}; {known}.")


def _heading(row: RankRow, stacked_at: float, now: float) -> str:
    at_step = "" if row.step is None else f" at step {row.step}"
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stacked_at))
    return (
        f"# rank {row.rank} ({row.host}, {row.device}, pid {row.pid}): in stage {row.stage} for "
        f"{row.stage_seconds:.1f} s{at_step}, heard of {max(0.0, now - row.time):.1f} s ago; stack taken {taken}"
    )

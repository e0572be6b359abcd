"""Rows for the store."""

from ddp.recording.store_writer import rank_row
from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stages import Stage


def test_a_row_of_the_store_dates_everything_by_rank_0s_clock() -> None:
    seen = RankStatus(1, "gpu-07", 101, "cuda:1", Stage.ALL_REDUCE, 512, 61.0, 2.0, "line\n", 2.5)

    row = rank_row(seen, now=1000.0)

    assert (row.rank, row.time, row.stage, row.stage_seconds) == (1, 998.0, "all-reduce", 61.0)
    assert (row.stack, row.stacked_at) == ("line\n", 997.5)

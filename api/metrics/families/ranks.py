"""Metrics of every rank: its status as received by rank 0's watchdog, and its last measurements."""

from collections.abc import Iterable

from api.metrics.definition import (
    BYTES_PER_GIB,
    MetricDefinition,
    Sample,
    Scrape,
    from_rank_status,
    from_snapshot,
    from_snapshot_by_rank,
)


def _stages(scrape: Scrape) -> Iterable[Sample]:
    return [((str(row.rank), row.stage), 1.0) for row in scrape.ranks]


def _slow(scrape: Scrape) -> Iterable[Sample]:
    slow_rank = scrape.snapshot.get("slow_rank")
    ranks = (row.get("rank") for row in scrape.rank_values())
    return [((str(rank),), float(rank == slow_rank)) for rank in ranks]


METRICS: tuple[MetricDefinition, ...] = (
    from_snapshot("leitstand_train_ranks", "Ranks that train together", "world_size"),
    MetricDefinition("leitstand_rank_stage", "The stage that a rank is in, always 1", _stages, ("rank", "stage")),
    from_rank_status(
        "leitstand_rank_stage_start_timestamp_seconds", "When it began", lambda row: row.time - row.stage_seconds
    ),
    from_rank_status("leitstand_rank_step", "Step that a rank is at", lambda row: row.step),
    from_rank_status("leitstand_rank_heard_timestamp_seconds", "Last sign of life of a rank", lambda row: row.time),
    from_snapshot_by_rank("leitstand_rank_step_seconds", "Seconds per step of one rank", "step_duration"),
    from_snapshot_by_rank(
        "leitstand_rank_own_seconds", "Seconds per step in which a rank waits for no other", "own_duration"
    ),
    from_snapshot_by_rank(
        "leitstand_rank_data_wait_seconds", "Seconds per step that a rank waited for data", "data_wait"
    ),
    from_snapshot_by_rank("leitstand_rank_memory_bytes", "Device memory in use by one rank", "memory", BYTES_PER_GIB),
    MetricDefinition("leitstand_rank_slow", "1 for the rank on which all others wait, else 0", _slow, ("rank",)),
)

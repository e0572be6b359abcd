"""Statistics of the trainer's components, written to the run's row of the store with every heartbeat.

Counts are since the trainer's start, times are Unix seconds.
"""

from typing import Any, TypedDict


class TrainerStats(TypedDict, total=False):
    """The statistics of one trainer; a key is missing until its value is known.

    has_perceptual             whether the workload has the perceptual term
    log_points_dropped         log points that were discarded because the store was unavailable for too long
    unsaved_records            records that are not on disk yet
    waiting_writings           writes to the store that are queued
    store_outages              number of times that the store became unavailable
    stalls                     number of stalls of a rank
    checkpoint_step            step of the last checkpoint
    checkpoint_time            time at which the last checkpoint was written
    checkpoint_seconds         duration of writing the last checkpoint
    checkpoint_bytes           size of the last checkpoint
    checkpoints_written        checkpoints written
    checkpoint_failures        checkpoints that could not be written
    viewer_events_dropped      events that TensorBoard or another tracker never gets, because it did not take them
    disk_free_bytes            space available to ordinary users on the disk of the run directory
    disk_bytes                 size of that disk
    time_spent                 what this start has spent its time on, as `TimeSpent.as_dict` gives it
    """

    has_perceptual: bool
    log_points_dropped: int
    unsaved_records: int
    waiting_writings: int
    store_outages: int
    stalls: int
    checkpoint_step: int
    checkpoint_time: float
    checkpoint_seconds: float
    checkpoint_bytes: int
    checkpoints_written: int
    checkpoint_failures: int
    viewer_events_dropped: int
    disk_free_bytes: int
    disk_bytes: int
    time_spent: dict[str, Any]

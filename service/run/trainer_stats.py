"""What a trainer tells of its own parts beside the snapshot: small plain facts in the run's row of the store.

They are written together with every heartbeat. Counts are since the trainer's start, times Unix seconds.
"""

from typing import TypedDict


class TrainerStats(TypedDict, total=False):
    """All of them; a fact is left out until it is known.

    has_perceptual             whether the workload has the perceptual term
    log_points_dropped         log points that the store never gets, because it was out of reach for too long
    unsaved_records            records that are not on disk yet
    waiting_writings           things that wait to be written to the store
    store_outages              how often the store went out of reach
    stalls                     how often a rank was found to hang
    checkpoint_step            step of the last checkpoint written
    checkpoint_time            when it was written
    checkpoint_seconds         how long that took
    checkpoint_bytes           how large it is
    checkpoints_written        checkpoints written
    checkpoint_failures        checkpoints that could not be written
    viewer_events_dropped      events that TensorBoard never gets, because its file could not be written for too long
    disk_free_bytes            room for ordinary users on the disk of the run directory
    disk_bytes                 size of that disk
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

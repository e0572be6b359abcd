"""Metrics of a run's storage: records, checkpoints, data that rank 0's recorder could not write, and the disk."""

from collections.abc import Callable

from api.metrics.definition import Disk, MetricDefinition, from_trainer_stats, unlabelled
from service.store.queries.records import RecordVersion


def _from_last_record(name: str, meaning: str, read: Callable[[RecordVersion], float]) -> MetricDefinition:
    return unlabelled(name, meaning, lambda scrape: read(scrape.last_record) if scrape.last_record else None)


def _from_disk(name: str, meaning: str, read: Callable[[Disk], float]) -> MetricDefinition:
    return unlabelled(name, meaning, lambda scrape: read(scrape.disk) if scrape.disk else None)


METRICS: tuple[MetricDefinition, ...] = (
    unlabelled("leitstand_records", "Records saved in the run directory", lambda scrape: scrape.record_count),
    _from_last_record("leitstand_record_step", "Step of the last record", lambda record: record.step),
    _from_last_record(
        "leitstand_record_timestamp_seconds", "When the last record was saved", lambda record: record.time
    ),
    from_trainer_stats(
        "leitstand_checkpoints_total", "Checkpoints written since the trainer's start", "checkpoints_written"
    ),
    from_trainer_stats(
        "leitstand_checkpoint_failures_total",
        "Checkpoints that could not be written, since the trainer's start",
        "checkpoint_failures",
    ),
    from_trainer_stats("leitstand_checkpoint_step", "Step of the last checkpoint", "checkpoint_step"),
    from_trainer_stats(
        "leitstand_checkpoint_timestamp_seconds", "When the last checkpoint was written", "checkpoint_time"
    ),
    from_trainer_stats("leitstand_checkpoint_duration_seconds", "How long it took to write", "checkpoint_seconds"),
    from_trainer_stats("leitstand_checkpoint_size_bytes", "Size of the last checkpoint", "checkpoint_bytes"),
    from_trainer_stats(
        "leitstand_recorder_dropped_log_points_total",
        "Log points that the store never gets, since the trainer's start",
        "log_points_dropped",
    ),
    from_trainer_stats("leitstand_recorder_unsaved_records", "Records that are not on disk yet", "unsaved_records"),
    from_trainer_stats(
        "leitstand_recorder_waiting_writings", "Things that wait to be written to the store", "waiting_writings"
    ),
    from_trainer_stats(
        "leitstand_recorder_store_outages_total",
        "Times that the store went out of the trainer's reach, since its start",
        "store_outages",
    ),
    from_trainer_stats(
        "leitstand_tensorboard_dropped_events_total",
        "Events that TensorBoard and other trackers never get, since the trainer's start",
        "viewer_events_dropped",
    ),
    _from_disk("leitstand_disk_free_bytes", "Room on the disk of the run directory", lambda disk: disk.free_bytes),
    _from_disk("leitstand_disk_size_bytes", "Size of the disk of the run directory", lambda disk: disk.size_bytes),
)

"""Metrics of what a run keeps: records, checkpoints, what rank 0's recorder could not write, the disk."""

from collections.abc import Callable

from api.metrics.definition import Disk, MetricDefinition, of_fact, unlabelled
from service.store.queries.records import RecordVersion


def _of_record(name: str, meaning: str, read: Callable[[RecordVersion], float]) -> MetricDefinition:
    return unlabelled(name, meaning, lambda scrape: read(scrape.last_record) if scrape.last_record else None)


def _of_disk(name: str, meaning: str, read: Callable[[Disk], float]) -> MetricDefinition:
    return unlabelled(name, meaning, lambda scrape: read(scrape.disk) if scrape.disk else None)


ROWS: tuple[MetricDefinition, ...] = (
    unlabelled("leitstand_records", "Records saved in the run directory", lambda scrape: scrape.record_count),
    _of_record("leitstand_record_step", "Step of the last record", lambda record: record.step),
    _of_record("leitstand_record_timestamp_seconds", "When the last record was saved", lambda record: record.time),
    of_fact("leitstand_checkpoints_total", "Checkpoints written since the trainer's start", "checkpoints_written"),
    of_fact(
        "leitstand_checkpoint_failures_total",
        "Checkpoints that could not be written, since the trainer's start",
        "checkpoint_failures",
    ),
    of_fact("leitstand_checkpoint_step", "Step of the last checkpoint", "checkpoint_step"),
    of_fact("leitstand_checkpoint_timestamp_seconds", "When the last checkpoint was written", "checkpoint_time"),
    of_fact("leitstand_checkpoint_duration_seconds", "How long it took to write", "checkpoint_seconds"),
    of_fact("leitstand_checkpoint_size_bytes", "Size of the last checkpoint", "checkpoint_bytes"),
    of_fact(
        "leitstand_recorder_dropped_log_points_total",
        "Log points that the store never gets, since the trainer's start",
        "log_points_dropped",
    ),
    of_fact("leitstand_recorder_unsaved_records", "Records that are not on disk yet", "unsaved_records"),
    of_fact("leitstand_recorder_waiting_writings", "Things that wait to be written to the store", "waiting_writings"),
    of_fact(
        "leitstand_recorder_store_outages_total",
        "Times that the store went out of the trainer's reach, since its start",
        "store_outages",
    ),
    of_fact(
        "leitstand_tensorboard_dropped_events_total",
        "Events that TensorBoard never gets, since the trainer's start",
        "viewer_events_dropped",
    ),
    _of_disk("leitstand_disk_free_bytes", "Room on the disk of the run directory", lambda disk: disk.free_bytes),
    _of_disk("leitstand_disk_size_bytes", "Size of the disk of the run directory", lambda disk: disk.size_bytes),
)

"""Publishes the metrics window: log points, which close it, and live snapshots, which do not."""

import logging
from collections.abc import Iterable

from ddp.distributed.world import World
from ddp.metrics.stragglers import StragglerDetector
from ddp.metrics.window import MetricsWindow, WindowMetrics
from ddp.recording.log_files import STEP_LINE
from ddp.recording.null_recorder import RunRecorder
from ddp.training.run_status import RunStatus
from ddp.training.snapshot import SnapshotBuilder
from ddp.validation import record_values
from ddp.watchdog.stages import Stage, StageMarker
from service.loss_terms import TOTAL_LOSS_KEY
from service.run.record import Record

MAX_NAMED = 10
"""Most images that one line of the log names; the event has all."""

logger = logging.getLogger(__name__)


class MetricsPublisher:
    """Publisher of log points and live snapshots. All ranks call every method at the same step."""

    def __init__(
        self,
        world: World,
        window: MetricsWindow,
        snapshot_builder: SnapshotBuilder,
        recorder: RunRecorder,
        run_status: RunStatus,
        marker: StageMarker,
    ) -> None:
        self._world = world
        self._window = window
        self._snapshot_builder = snapshot_builder
        self._recorder = recorder
        self._run_status = run_status
        self._marker = marker
        self._stragglers = StragglerDetector()
        self._named: set[str] = set()

    def log_point(self) -> None:
        """Close the window and publish it, unless it is empty."""
        if self._window.is_empty:
            return
        self._marker.enter(Stage.LOG)
        summary = self._summarise()
        unreadable = self._window.restart()
        if summary.skipped:
            names_by_rank = self._world.gather(unreadable)
            self.report_unreadable("training", {name for names in names_by_rank for name in names})
        self._report_straggler(summary)
        snapshot = self._snapshot_builder.build("schedule")
        if self._world.is_main:
            _log(snapshot)
        step = self._run_status.progress.step
        self._recorder.log_point(step, record_values.curves_of(snapshot, with_validation=False), snapshot)

    def publish_snapshot(self, trigger: str = "schedule", *, validating: bool = False) -> None:
        """Publish the live snapshot, with the window as last measured."""
        self._recorder.publish_snapshot(self._snapshot_builder.build(trigger, validating=validating))

    def measure(self) -> None:
        """Measure the window for the next snapshots, unless it is empty; the window stays open."""
        if not self._window.is_empty:
            self._summarise()

    def _summarise(self) -> WindowMetrics:
        summary = self._window.summarise()
        self._snapshot_builder.note_window(summary)
        return summary

    def report_unreadable(self, kind: str, names: Iterable[str]) -> None:
        """Name the images of one `kind` (training, validation) that were skipped, each with its reason and only once.

        `names` are the same on every rank.
        """
        new = sorted(set(names) - self._named)
        self._named.update(new)
        if new and self._world.is_main:
            count = f"{len(new)} unreadable {kind} image{'s were' if len(new) > 1 else ' was'}"
            logger.warning("%s skipped: %s", count, "; ".join(new[:MAX_NAMED]))
            self._recorder.event("skipped", {"images": new})

    def _report_straggler(self, summary: WindowMetrics) -> None:
        """Report the rank that the others wait for once several windows agree, and when it is no longer slow."""
        previous = self._stragglers.slow_rank
        if not self._stragglers.update(summary.slow_rank) or not self._world.is_main:
            return
        slow, own_seconds = self._stragglers.slow_rank, [row.own_seconds for row in summary.ranks]
        if slow is None:
            logger.info("Rank %d is no longer slower than the others.", previous)
        else:
            waits = summary.ranks[slow].wait_seconds_per_step
            logger.warning(
                "Rank %d is slow: %.3f s per step by itself (%.3f s of it waiting for data), others %.3f s or less.",
                slow, own_seconds[slow], waits, max((*own_seconds[:slow], *own_seconds[slow + 1 :])),
            )  # fmt: skip
        self._recorder.event("slow rank", {"rank": slow, "own_seconds": own_seconds})


def _log(snapshot: Record) -> None:
    logger.info(
        "step %d/%d  loss %.5f  lr %.2e  %.3f s/step  %.1f samples/s  ETA %s",
        snapshot["step_current"],
        snapshot["step_max"],
        _or_nan(snapshot[TOTAL_LOSS_KEY]),
        snapshot["learning_rate_value"],
        _or_nan(snapshot["iteration_duration"]),
        _or_nan(snapshot["samples_per_second"]),
        snapshot["eta_total_formatted"],
        extra=STEP_LINE,
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value

"""Runs a validation at a step boundary: scores the images and writes the result as a record."""

import logging
from collections.abc import Callable

from ddp.adaptive.controller import Controller
from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import RunRecorder
from ddp.training.metrics_publisher import MetricsPublisher
from ddp.training.run_status import RunStatus
from ddp.training.snapshot import SnapshotBuilder
from ddp.validation import record_values
from ddp.validation.evaluation import validate
from ddp.validation.image_scores import Networks
from ddp.validation.result import ValidationResult
from ddp.watchdog.stages import Stage, StageMarker
from ddp.workload import Workload
from service.commands import Command
from service.run.ledger.time_spent import Activity

PREVIEW_COUNT = 4

logger = logging.getLogger(__name__)


class ImageScoring:
    """Scores the validation images with the current networks, and updates the rank's stage during it."""

    def __init__(
        self,
        world: World,
        workload: Workload,
        networks: Networks,
        marker: StageMarker,
        shutdown: ShutdownRequest,
        on_image: Callable[[], None],
    ) -> None:
        """`on_image` is called before the first image and after each."""
        self._world = world
        self._workload = workload
        self._networks = networks
        self._marker = marker
        self._shutdown = shutdown
        self._on_image = on_image

    def run(self) -> ValidationResult | None:
        """Score all images; return None on all ranks if a signal to any rank interrupted the scoring."""
        self._mark_image()
        return validate(
            self._world,
            self._workload,
            self._networks,
            preview_count=PREVIEW_COUNT,
            on_image=self._mark_image,
            before_exchange=lambda: self._marker.enter(Stage.ALL_REDUCE),
            is_shutdown_requested=lambda: self._shutdown.is_set,
        )

    def _mark_image(self) -> None:
        self._marker.enter(Stage.VALIDATION)
        self._on_image()


class ValidationPass:
    """Runs a validation and writes its record. All ranks call every method at the same step."""

    def __init__(
        self,
        scoring: ImageScoring,
        metrics: MetricsPublisher,
        snapshot_builder: SnapshotBuilder,
        recorder: RunRecorder,
        controller: Controller,
        run_status: RunStatus,
        window: MetricsWindow,
    ) -> None:
        self._scoring = scoring
        self._metrics = metrics
        self._snapshot_builder = snapshot_builder
        self._recorder = recorder
        self._controller = controller
        self._run_status = run_status
        self._window = window

    def run(self, trigger: str, commands: tuple[Command, ...] = ()) -> bool:
        """Validate and write the record; return False on all ranks if a signal to any rank interrupted the scoring.

        `commands` are finished once the record is on disk. The caller ensures that this step has no record yet.
        """
        self._metrics.measure()  # on a GPU it waits for steps that were made before
        self._metrics.publish_snapshot(trigger, validating=True)
        with self._window.excluded(Activity.VALIDATING):
            result = self._scoring.run()
            if result is not None:
                self._publish(result, trigger, commands)
            self._window.reset_memory_peak()
        return result is not None

    def _publish(self, result: ValidationResult, trigger: str, commands: tuple[Command, ...]) -> None:
        found = self._snapshot_builder.note_validation(result)
        self._run_status.progress.note_validation(found["quality_ki_value"])
        if trigger == "schedule":  # a manual validation must not change the controller, and so the training
            self._controller.note_quality(found["quality_ki_value"])
        unreadable = (f"{name} ({reason})" for name, reason in result.unreadable.items())
        self._metrics.report_unreadable("validation", unreadable)
        record = self._snapshot_builder.build(trigger, commands[0].id if commands else None)
        # The all_reduce of the results needs every rank, so its completion confirms all of them.
        command_result = {
            "shared": False,
            "ranks": record_values.outcomes_of([(None, began_at) for began_at in result.began_at]),
        }
        waiting = [(command, command_result) for command in commands]
        self._recorder.record(record, record_values.curves_of(record, with_validation=True), result.previews, waiting)
        logger.info(
            "Step %d: quality KI %.4f, LR %.4f; PSNR KI %.3f dB, LR %.3f dB.",
            record["step_current"],
            *(found[key] for key in ("quality_ki_value", "quality_lr_value", "psnr_ki_db", "psnr_lr_db")),
        )

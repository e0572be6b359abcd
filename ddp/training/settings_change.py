"""Applies changed settings between two steps, and publishes them."""

import logging
from collections.abc import Mapping
from typing import Any

from ddp.adaptive.controller import Controller
from ddp.recording.null_recorder import RunRecorder
from ddp.training.metrics_publisher import MetricsPublisher
from ddp.training.run_status import RunStatus
from service.config.live_settings import LiveSettings

logger = logging.getLogger(__name__)


class SettingsChange:
    """Changes the settings in force. All ranks call every method at the same step."""

    def __init__(
        self,
        run_status: RunStatus,
        controller: Controller,
        recorder: RunRecorder,
        metrics: MetricsPublisher,
        *,
        has_perceptual: bool,
    ) -> None:
        self._run_status = run_status
        self._controller = controller
        self._recorder = recorder
        self._metrics = metrics
        self._has_perceptual = has_perceptual

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Apply `wanted` ({KEY: value}) from the next step on. Raises `CommandError` and then changes nothing."""
        self._apply(self._changed(self._run_status.live, wanted))
        assignments = ", ".join(f"{name}={value}" for name, value in wanted.items())
        logger.info("Settings changed at step %d: %s", self._run_status.progress.step, assignments)
        self._recorder.event("set", dict(wanted))
        self.publish()

    def restore(self, saved: Mapping[str, Any], lr_factor: float | None) -> None:
        """Apply the changes of a saved state on top of the settings of this start; publish nothing.

        With `lr_factor` the learning-rate scale becomes the smaller of the current and the saved one, times the factor.
        """
        scale = self._run_status.config.lr_scale
        live, _ = LiveSettings.resumed(self._run_status.live.start, saved)
        if lr_factor is not None:
            live = self._changed(live, {"LR_SCALE": min(scale, live.config.lr_scale) * lr_factor})
        self._apply(live)

    def publish(self) -> None:
        """Publish the settings in force, and a live snapshot that contains them."""
        self._recorder.publish_settings(self._run_status.live)
        self._metrics.publish_snapshot()

    def _changed(self, live: LiveSettings, wanted: Mapping[str, Any]) -> LiveSettings:
        return live.with_changes(wanted, step=self._run_status.progress.step, has_perceptual=self._has_perceptual)

    def _apply(self, live: LiveSettings) -> None:
        self._run_status.live = live
        self._controller.configure(live.config, live.pins)

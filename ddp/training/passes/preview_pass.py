"""Renders the clips that people ask for, at a step boundary: rank 0 works, the others wait.

A preview changes nothing but the time. What goes wrong with a clip is the answer to the command that named it.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import RunRecorder
from ddp.recording.preview_writer import PreviewWriter
from ddp.training.run_status import RunStatus
from ddp.validation.image_scores import Networks
from ddp.validation.preview.clip_part import PartRequest
from ddp.validation.preview.reading import read_in_process
from ddp.validation.preview.rendering import Renderer
from ddp.watchdog.stages import Stage, StageMarker
from ddp.workload import Workload
from service.commands import Command, CommandState, Kind, check_arguments
from service.errors import UserError, printable
from service.run.ledger.time_spent import Activity

RENDER_SECONDS = 300.0
"""Most seconds for which the training waits for one preview."""
WRITE_SECONDS = 30.0
"""Most seconds for which a rollback or the end of a run waits for previews that are being written."""
NAME_BYTES = 180
"""Most bytes of a clip's name in the name of a file, which may have 255."""
MAX_REASON = 500


class PreviewPass:
    """Renders clips with the present networks. All ranks call `run` at the same step."""

    def __init__(
        self,
        world: World,
        workload: Workload,
        networks: Networks,
        recorder: RunRecorder,
        run_status: RunStatus,
        window: MetricsWindow,
        marker: StageMarker,
        shutdown: ShutdownRequest,
    ) -> None:
        self._world = world
        self._workload = workload
        self._networks = networks
        self._recorder = recorder
        self._run_status = run_status
        self._window = window
        self._marker = marker
        self._shutdown = shutdown
        self._writer = PreviewWriter()
        self._deadline = 0.0

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._world.device, self._workload, self._networks)

    def run(self, commands: tuple[Command, ...]) -> None:
        """Render the clips of rank 0's commands, and finish each once its file is on disk. One collective."""
        with self._window.excluded(Activity.VALIDATING):
            for command in commands:
                self._run_one(command)
            self._marker.enter(Stage.ALL_REDUCE)
            self._world.from_main(None)  # the others would else wait for rank 0 within their next step

    def wait(self) -> None:
        """Wait for the files that are being written, so that none comes into a folder that is being moved."""
        self._writer.wait(WRITE_SECONDS)

    def _run_one(self, command: Command) -> None:
        step = self._run_status.progress.step
        self._deadline = time.monotonic() + min(RENDER_SECONDS, self._run_status.config.collective_timeout_seconds / 3)
        try:
            # Again here: what was queued may be of another version.
            arguments = check_arguments(Kind.PREVIEW, command.arguments)
            pictures, rate = self._render(arguments)
            path = self._recorder.previews_folder() / f"step_{step}" / file_name(arguments)
        except UserError as error:
            reason = printable(str(error))[:MAX_REASON]
            self._recorder.finish(command, CommandState.REJECTED, step=step, reason=reason)
            return
        result = {"preview": path.name, "frames": len(pictures), "url": f"/previews/{step}/{path.name}"}

        def written(problem: str | None) -> None:
            state = CommandState.DONE if problem is None else CommandState.FAILED
            self._recorder.finish(command, state, step=step, result=result, reason=problem)

        self._writer.write(path, pictures, rate, written)

    def _render(self, arguments: Mapping[str, Any]) -> tuple[list[Tensor], float]:
        """Return the pictures and how many there are a second. Raises `UserError`."""
        clip, first, count = arguments["clip"], arguments["frame"], arguments["frames"]
        names = self._workload.validation_images.names
        if clip in names:
            if (first, count) != (0, 1):
                raise UserError(f"{clip} is a validation image, which has one frame: leave out frame and frames")
            return self._renderer.render_image(names.index(clip), self._on_part), 1.0
        request = PartRequest(
            root=str(self._root(clip)),
            name=clip,
            first=first,
            count=count,
            margin=self._renderer.n_frames // 2,
            max_pixels=self._renderer.max_pixels(count),
        )
        part = read_in_process(request, self._on_part)
        return self._renderer.render_part(part, self._on_part), part.rate

    def _root(self, clip: str) -> Path:
        """Return the folder of clips. Raises `UserError` if there is none."""
        config = self._run_status.config
        if root := config.preview_root or config.video_root:
            return Path(root)
        names = self._workload.validation_images.names
        raise UserError(
            f"there is no validation image {clip} (there is {names[0]}), and no folder of clips: set PREVIEW_ROOT at "
            "the next start"
        )

    def _on_part(self) -> None:
        """Note that the work goes on. Raises `UserError` if the run is to leave, or the others waited long enough."""
        self._marker.enter(Stage.VALIDATION)
        self._recorder.mark_progress()
        if self._shutdown.is_set:
            raise UserError("the run was asked to leave by a signal before the preview was ready")
        if time.monotonic() > self._deadline:
            raise UserError("it took too long for a training that waits: ask for fewer or smaller frames")


def file_name(arguments: Mapping[str, Any]) -> str:
    """Return the name of a preview's file: `rendered_street.mp4_100.webp`; of one frame 0 without its number."""
    shown = "".join(letter if letter.isprintable() and letter != "/" else "_" for letter in arguments["clip"])
    clip = shown.encode()[-NAME_BYTES:].decode(errors="ignore")
    frame = f"_{arguments['frame']}" if arguments["frame"] or arguments["frames"] > 1 else ""
    return f"rendered_{clip}{frame}.webp"

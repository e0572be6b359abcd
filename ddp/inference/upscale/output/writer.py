"""What takes the enlarged frames: the interface of video and picture writers."""

from typing import Protocol

from torch import Tensor

from ddp.inference.upscale.input.clip import InputFrame


class Writer(Protocol):
    """Makes an output in a job's folder; `done_count` frames were made by an earlier start."""

    done_count: int

    def add(self, frame: InputFrame, picture: Tensor) -> None:
        """Add the next frame, (3, H, W) in 0…1. Raises `OSError`."""

    def save(self) -> None:
        """Save what is not on disk yet, so that the next start goes on after it. Raises `OSError`."""

    def finish(self) -> None:
        """Put the whole output in place, verified. Raises `OSError` and `UserError`."""

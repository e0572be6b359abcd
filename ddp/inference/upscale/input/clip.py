"""What is enlarged: frames in their order, and the scenes among them that do not know each other.

Legend: H, W = a frame's height and width; frames are counted from 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from ddp.vsr.pictures import Picture
from ddp.vsr.unreadable import Skipped


@dataclass(frozen=True)
class InputFrame:
    """One upright frame, (H, W, 3) RGB uint8; `time` in seconds from the clip's start.

    A picture has the name of its file without suffix, and its colour profile (ICC) if it has one.
    """

    number: int
    picture: Picture
    time: Fraction
    name: str = ""
    profile: bytes | None = None


class Clip(Protocol):
    """Frames that can be read from any number on, again and again."""

    name: str
    frame_count: int
    scenes: Sequence[range]
    """Frame numbers of each scene, in order: every frame is in one of them. Frames of a scene have one size."""
    notices: Sequence[str]
    """Sentences about what is left out or done otherwise than people may expect."""
    skipped: Sequence[Skipped]
    """Pictures that cannot be read; the rest goes on without them."""

    def frames(self, first: int) -> Iterator[InputFrame]:
        """Yield the frames from number `first` on. Raises `UserError`."""

    def identity(self) -> dict[str, Any]:
        """Return plain values that differ for another clip, or one that has been changed."""


def scene_starts(scenes: Sequence[range]) -> list[int]:
    """Return the first frame of each scene."""
    return [scene.start for scene in scenes]

"""The part of a clip that is rendered, as numbers that go from one process to another.

Legend: N = frames, H, W = a frame's height and width; frames are counted from 0 in the clip.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PartRequest:
    """What is wanted of a clip: `count` frames from `first` on, and `margin` more on each side as neighbours.

    A frame may have at most `max_pixels` pixels. `root` is the folder that `name` must be in.
    """

    root: str
    name: str
    first: int
    count: int
    margin: int
    max_pixels: int

    def as_argument(self) -> str:
        """Return it as one argument of a program."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class ClipPart:
    """Frames (N, H, W, 3) uint8 RGB, of which `shown` are wanted, the others are their neighbours.

    `scenes` are (first, end) of the frames between two cuts; `first` is the number of the first frame here; `rate` is
    in frames per second.
    """

    frames: NDArray[np.uint8]
    first: int
    shown: tuple[int, int]
    scenes: tuple[tuple[int, int], ...]
    rate: float

    def window(self, number: int, n_frames: int) -> NDArray[np.uint8]:
        """Return the frames around a frame, (T, H, W, 3); where its scene ends, the last frame there is repeated."""
        start, end = next((start, end) for start, end in self.scenes if start <= number < end)
        half = n_frames // 2
        wanted = [min(max(number + offset, start), end - 1) for offset in range(-half, half + 1)]
        return self.frames[[other - self.first for other in wanted]]

    def to_bytes(self) -> bytes:
        """Return one line of JSON and the pixels after it."""
        about = {"shape": self.frames.shape, "first": self.first, "shown": self.shown, "scenes": self.scenes}
        return json.dumps({**about, "rate": self.rate}).encode() + b"\n" + self.frames.tobytes()


def part_from_bytes(content: bytes) -> ClipPart:
    """Return what `ClipPart.to_bytes` has written. Raises `ValueError` if it is not whole."""
    line, _, pixels = content.partition(b"\n")
    about = json.loads(line)
    frames = np.frombuffer(pixels, dtype=np.uint8).reshape(about["shape"])
    first_shown, end_shown = about["shown"]
    scenes = tuple((int(start), int(end)) for start, end in about["scenes"])
    return ClipPart(frames, about["first"], (first_shown, end_shown), scenes, about["rate"])

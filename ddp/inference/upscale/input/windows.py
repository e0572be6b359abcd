"""Windows of consecutive frames around each frame, never across a cut.

Where a scene ends within a window, its last frame on that side stands for those that are missing: also in a scene that
is shorter than the window.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from ddp.inference.upscale.input.clip import Clip, InputFrame, scene_starts

Prepared = TypeVar("Prepared")


class Windows(Generic[Prepared]):
    """The windows of a clip. Keeps as many frames as a window has, each prepared once."""

    def __init__(self, clip: Clip, n_frames: int, prepare: Callable[[InputFrame], Prepared]) -> None:
        """`prepare` makes of a frame what the windows hold, such as a tensor on a GPU."""
        self._clip = clip
        self._half = n_frames // 2
        self._prepare = prepare
        self._starts = scene_starts(clip.scenes)

    def from_frame(self, first: int) -> Iterator[tuple[InputFrame, Sequence[Prepared]]]:
        """Yield each frame from number `first` on with its window, whose middle it is. Raises `UserError`."""
        kept: deque[tuple[InputFrame, Prepared]] = deque()
        frames = self._clip.frames(max(0, first - self._half))
        for number in range(first, self._clip.frame_count):
            scene = self._clip.scenes[bisect_right(self._starts, number) - 1]
            wanted = [min(max(number + i, scene.start), scene.stop - 1) for i in range(-self._half, self._half + 1)]
            while not kept or kept[-1][0].number < wanted[-1]:
                frame = next(frames)
                kept.append((frame, self._prepare(frame)))
            while kept[0][0].number < number - self._half:
                kept.popleft()
            by_number = {frame.number: (frame, prepared) for frame, prepared in kept}
            yield by_number[number][0], [by_number[other][1] for other in wanted]

"""Small videos whose every pixel is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

VideoMaker = Callable[[Path, Sequence[NDArray[np.uint8]]], Path]


@pytest.fixture(scope="session")
def write_video() -> VideoMaker:
    """Write frames (H, W, 3) as a video that decodes to the same pixels."""

    def write(path: Path, frames: Sequence[NDArray[np.uint8]]) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "bgr0"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write

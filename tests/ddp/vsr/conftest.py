"""Videos for the data tests: the real clips, fetched once, and small lossless ones whose every pixel is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.clips import fetch_set
from service.errors import UserError

VideoMaker = Callable[[Path, Sequence[NDArray[np.uint8]]], Path]


@pytest.fixture(scope="session")
def clips_folder(repository: Path) -> Path:
    """The three clips of the small set, kept in the git-ignored data folder between test runs."""
    folder = repository / "data" / "clips"
    try:
        fetch_set("small", folder, lambda _: None)
    except UserError as error:
        pytest.skip(f"no real clips: {error}")
    return folder


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


@pytest.fixture(scope="session")
def textured() -> Callable[..., list[NDArray[np.uint8]]]:
    """Frames of a detailed scene that pans slowly; another seed is another scene."""

    def make(seed: int, count: int, height: int = 96, width: int = 120) -> list[NDArray[np.uint8]]:
        noise = np.random.default_rng(seed)
        level = noise.integers(20, 200)
        blocks = noise.integers(0, 50, (height // 4 + 1, (width + count) // 4 + 1, 3))
        scene = (level + np.kron(blocks, np.ones((4, 4, 1), dtype=int))).astype(np.uint8)
        return [np.ascontiguousarray(scene[:height, i : i + width]) for i in range(count)]

    return make

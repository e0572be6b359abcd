"""An untrained network, whose pictures are the bilinear enlargement, and clips to enlarge."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ddp.inference.network import TrainedNetwork
from ddp.vsr.networks.recurrent import VSR, reach_for
from tests.ddp.harness.colour_formula import Planes, frame_of
from tests.ddp.harness.lossless_video import write_video as write_video  # a fixture

Video = Callable[..., Path]
MILLISECONDS = Fraction(1, 1000)


def untrained(n_feats: int = 4, n_blocks: int = 2, n_frames: int = 5, scale: int = 3) -> TrainedNetwork:
    module = VSR(n_feats, n_blocks, n_frames, scale).eval().requires_grad_(False)
    sizes = {"n_feats": n_feats, "n_blocks": n_blocks, "n_frames": n_frames, "scale": scale}
    settings = {"workload": "ddp.vsr.workload", "network": "recurrent", **sizes}
    return TrainedNetwork(module, settings, n_frames, scale, reach_for(n_blocks, n_frames), "untrained")


def trained(**sizes: int) -> TrainedNetwork:
    """Random weights also in the last layer, so that a picture depends on all frames."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = untrained(**sizes)
        for parameter in network.module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def network() -> TrainedNetwork:
    return untrained()


@pytest.fixture
def show() -> list[str]:
    return []


@pytest.fixture
def write_clip() -> Video:
    """Write planes as lossless H.264 with given times in milliseconds; `sound` seconds of a tone beside it."""

    def write(
        path: Path,
        planes: Sequence[Planes],
        times: Sequence[int] | None = None,
        *,
        pixel_format: str = "yuv420p",
        sound: float = 0.0,
        **context: Any,
    ) -> Path:
        options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
        with av.open(str(path), "w", options=options) as container:
            stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
            stream.height, stream.width = planes[0][0].shape
            stream.pix_fmt = pixel_format
            stream.codec_context.time_base = stream.time_base = MILLISECONDS
            for name, value in context.items():
                setattr(stream.codec_context, name, value)
            tone: Any = container.add_stream("aac", rate=44100, layout="mono") if sound else None
            for number, picture in enumerate(planes):
                frame = frame_of(picture, pixel_format)
                frame.pts, frame.time_base = times[number] if times else 40 * number, MILLISECONDS
                frame.color_range = context.get("color_range", 1)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if tone:
                container.mux(tone.encode(_tone(sound)))
                container.mux(tone.encode())
        return path

    return write


def _tone(seconds: float) -> av.AudioFrame:
    samples = (8000 * np.sin(np.arange(int(44100 * seconds)) * 0.06)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = 44100
    return frame


def bilinear(picture: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Enlarge (H, W, 3): each output pixel's centre lies between the centres of input pixels; edges go on."""
    for axis in (0, 1):
        count = picture.shape[axis]
        positions = ((np.arange(count * scale) + 0.5) / scale - 0.5).clip(0, count - 1)
        first = np.minimum(positions.astype(int), count - 2)
        shape = [-1 if i == axis else 1 for i in range(3)]
        share = (positions - first).reshape(shape)
        picture = picture.take(first, axis) * (1 - share) + picture.take(first + 1, axis) * share
    return picture


def planes_in(path: Path, pixel_format: str = "yuv420p") -> list[Planes]:
    """The planes of a video's frames as they are stored."""
    with av.open(str(path)) as container:
        return [_planes_of(frame, pixel_format) for frame in container.decode(video=0)]


def _planes_of(frame: Any, pixel_format: str) -> Planes:
    assert frame.format.name.replace("yuvj", "yuv") == pixel_format
    sample = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    rows = [
        np.frombuffer(plane, sample).reshape(-1, plane.line_size // sample.itemsize)[: plane.height, : plane.width]
        for plane in frame.planes
    ]
    luma, blue, red = (plane.astype(np.float64) for plane in rows)
    return luma, blue, red

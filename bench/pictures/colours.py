"""Measures how near pictures from 4:2:0 video come to the RGB that the video was made from, in dB.

    python -m bench.pictures.colours VIDEO

The true RGB is the halved picture of three frames of VIDEO. Its 4:2:0 is made in float64, chroma where H.264 has it
(left) or between the pixels (centre), stored without loss, and read by `prepare` and by PyAV's plain conversion.
"""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.colours import box_mean
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import read_frames

Plane = NDArray[np.float64]

FRAMES = (0, 30, 60)
CODECS = {"left": ("libx264", {"qp": "0"}), "centre": ("ffv1", {})}


def planes_of(rgb: NDArray[np.uint8], siting: str) -> tuple[Plane, Plane, Plane]:
    """Return Y, U and V in BT.601 and limited range, chroma at half the size."""
    r, g, b = (rgb[..., channel].astype(np.float64) for channel in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = (halved((part - y) / gain * 224 / 255 + 128, siting) for part, gain in ((b, 1.772), (r, 1.402)))
    return np.round(y * 219 / 255 + 16), np.round(u), np.round(v)


def halved(plane: Plane, siting: str) -> Plane:
    rows = (plane[::2] + plane[1::2]) / 2
    if siting == "centre":
        return (rows[:, ::2] + rows[:, 1::2]) / 2
    wide = np.pad(rows, ((0, 0), (1, 1)), "edge")
    return (wide[:, :-2:2] + 2 * wide[:, 1:-1:2] + wide[:, 2::2]) / 4


def write(path: Path, planes: tuple[Plane, Plane, Plane], siting: str) -> Source:
    codec, options = CODECS[siting]
    height, width = planes[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame(width, height, "yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size), np.uint8)
            rows[:, : plane.width] = values
            plane.update(rows.tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Source(path.name, path)


def decibels(picture: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((picture.astype(np.float64) - truth) ** 2)))


def plainly(source: Source, divisor: int) -> NDArray[np.uint8]:
    """Return the first frame by the plain conversion that was used before."""
    with av.open(str(source.path)) as container:
        frame = next(container.decode(video=0))
    method = Interpolation.AREA if divisor > 1 else Interpolation.BILINEAR
    small = frame.reformat(frame.width // divisor, frame.height // divisor, "rgb24", interpolation=method)
    return small.to_ndarray().astype(np.uint8)


def main(video: Path) -> None:
    """Print a table of the mean dB."""
    truths = [box_mean(frame, 2)[:360, :640] for _, frame in read_frames(Source(video.name, video), FRAMES)]
    click.echo("| chroma | size | plain, dB | prepare, dB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for siting in CODECS:
            sources = [
                write(Path(folder, f"{siting}{i}.mkv"), planes_of(t, siting), siting) for i, t in enumerate(truths)
            ]
            for divisor in (1, 2):
                goals = [box_mean(truth, divisor) for truth in truths]
                plain = [plainly(source, divisor) for source in sources]
                halve_from = min(truths[0].shape[:2]) if divisor == 2 else 0
                ours = [next(read_frames(source, halve_from=halve_from))[1] for source in sources]
                before, now = (
                    np.mean([decibels(*pair) for pair in zip(made, goals, strict=True)]) for made in (plain, ours)
                )
                click.echo(f"| {siting} | {'full' if divisor == 1 else 'halved'} | {before:.1f} | {now:.1f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

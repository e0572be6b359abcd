"""Deinterlacing against the moments that were woven together, and against ffmpeg's own command line."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.scenes import survey
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import DamagedVideoError, read_frames

HEIGHT, WIDTH = 96, 128
EDGE_ROWS = 3
INTERLACED = {"qp": "1", "flags": "+ildct+ilme", "x264-params": "bff=1"}

Grey = NDArray[np.uint8]


def moments(count: int) -> list[Grey]:
    """A smooth picture that moves three pixels from moment to moment."""
    scene = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH + 3 * count))
    for axis in (0, 1):
        for _ in range(3):
            scene = (np.roll(scene, 1, axis) + 2 * scene + np.roll(scene, -1, axis)) / 4
    values = np.clip(128 + 20 * scene / scene.std(), 50, 205).astype(np.uint8)
    return [values[:, 3 * i : 3 * i + WIDTH] for i in range(count)]


def woven(first: Grey, second: Grey) -> Grey:
    """The first moment in the bottom lines, as x264 flags it."""
    frame = first.copy()
    frame[::2] = second[::2]
    return frame


def write(path: Path, frames: list[Grey], options: dict[str, str], pixel_format: str = "yuv420p") -> Source:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        for number, grey in enumerate(frames):
            frame = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for plane, values in zip(frame.planes, (grey, 128, 128), strict=False):
                rows = np.full((plane.height, plane.line_size), 128, np.uint8)
                rows[:, : plane.width] = values
                plane.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Source(path.name, path)


def interlaced(path: Path, count: int = 8) -> tuple[Source, list[Grey]]:
    scenes = moments(2 * count)
    frames = [woven(first, second) for first, second in zip(scenes[::2], scenes[1::2], strict=True)]
    return write(path, frames, INTERLACED), scenes[::2]


def luma(source: Source) -> list[NDArray[np.float64]]:
    """Luma of the decoded grey frames, back in limited range."""
    return [frame[..., 1].astype(np.float64) * 219 / 255 + 16 for _, frame in read_frames(source)]


def decibels(picture: NDArray[np.float64], truth: Grey) -> float:
    return float(10 * np.log10(255**2 / np.mean((picture - truth) ** 2)))


def test_an_interlaced_video_comes_without_combs_one_frame_for_each(tmp_path: Path) -> None:
    source, truth = interlaced(tmp_path / "a.mkv")
    pictures = luma(source)

    assert len(pictures) == len(truth)
    combed = [decibels(woven(a, b).astype(float), a) for a, b in zip(moments(16)[::2], moments(16)[1::2], strict=True)]
    gains = [decibels(picture, frame) - before for picture, frame, before in zip(pictures, truth, combed, strict=True)]
    assert min(gains[1:-1]) > 6
    assert survey(source).deinterlaced


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
def test_deinterlaced_frames_are_those_of_ffmpegs_command_line(tmp_path: Path) -> None:
    source, truth = interlaced(tmp_path / "a.mkv")
    command = ["ffmpeg", "-v", "error", "-i", source.path, "-vf", "bwdif=mode=send_frame:deint=interlaced"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], stdout=subprocess.PIPE, check=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(len(truth), -1)[:, : HEIGHT * WIDTH]
    differences = [
        np.abs(picture - frame.reshape(HEIGHT, WIDTH)) for picture, frame in zip(luma(source), expected, strict=True)
    ]
    assert max(difference.max() for difference in differences[1:]) < 1
    # The first frame has none before it and is filtered in space only, which ffmpeg's versions do differently at edges.
    assert differences[0][EDGE_ROWS:-EDGE_ROWS].max() < 1


def test_wanted_frames_have_the_same_numbers_as_in_the_whole(tmp_path: Path) -> None:
    source, _ = interlaced(tmp_path / "a.mkv")
    whole = dict(read_frames(source))
    for wanted in ({3}, {0, 7}, {7}):
        part = dict(read_frames(source, wanted))
        assert set(part) == wanted
        for number, frame in part.items():
            np.testing.assert_array_equal(frame, whole[number])


def test_progressive_video_is_left_as_it_is(tmp_path: Path) -> None:
    frames = moments(4)
    source = write(tmp_path / "a.mkv", frames, {"qp": "0"})
    for picture, frame in zip(luma(source), frames, strict=True):
        assert np.abs(picture - frame).max() < 0.6
    assert not survey(source).deinterlaced


def test_interlaced_pixels_that_the_filter_would_convert_are_left_out_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25, options={"field_order": "tt", "flags": "+ildct"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuyv422"
        for number in range(3):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuyv422")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.planes[0].update(np.full(frame.planes[0].buffer_size, 100, np.uint8).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        if not next(container.decode(video=0)).interlaced_frame:
            pytest.skip("the container does not keep the flag")
    with pytest.raises(DamagedVideoError, match="interlaced, and yuyv422 pixels cannot"):
        list(read_frames(Source(path.name, path)))

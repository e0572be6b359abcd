"""Pairs of PNG files against frames whose every pixel is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddp.vsr.prepare.patch_writer import PatchWriter, detail_of, labels_of
from ddp.vsr.prepare.resize import DEGRADATIONS
from ddp.vsr.prepare.scenes import Survey, survey
from ddp.vsr.prepare.selection.windows import Window
from ddp.vsr.prepare.sources import Source

Textured = Callable[..., list[NDArray[np.uint8]]]
VideoMaker = Callable[[Path, list[NDArray[np.uint8]]], Path]


def window_at(found: Survey, first_frame: int, *corners: tuple[int, int], size: int = 48) -> Window:
    return Window(
        side="Patches", scene=found.scenes[0], first_frame=first_frame, height=size, width=size, corners=corners
    )


def write(
    tmp_path: Path,
    path: Path,
    scale: int,
    n_frames: int,
    *windows: tuple[int, int, int],
    degradation: str = "bicubic",
) -> PatchWriter:
    writer = PatchWriter(tmp_path / "set", scale, n_frames, degradation=degradation)
    writer.make_folders()
    found = survey(Source("a.mkv", path))
    writer.write(found, "a", [window_at(found, first, (top, left)) for first, top, left in windows])
    return writer


@pytest.mark.parametrize("degradation", ["bicubic", "blur-down"])
@pytest.mark.parametrize(("scale", "n_frames"), [(2, 5), (3, 5), (4, 7)])
def test_lr_frames_equal_those_cut_out_of_whole_degraded_frames(
    tmp_path: Path, textured: Textured, write_video: VideoMaker, scale: int, n_frames: int, degradation: str
) -> None:
    """Corners at the border, inside, and at the far end of a frame that the scale does not divide."""
    frames = textured(0, 16, height=97, width=122)
    height, width = 97 // scale * scale, 122 // scale * scale
    whole = [DEGRADATIONS[degradation](frame[:height, :width], scale) for frame in frames]
    corners = [(3, 0, 0), (3, 2 * scale, 3 * scale), (9, height - 48, width - 48)]
    path = write_video(tmp_path / "a.mkv", frames)
    write(tmp_path, path, scale, n_frames, *corners, degradation=degradation)

    for first, top, left in corners:
        middle = first + n_frames // 2
        name = f"a_s000_f{middle:06d}_y{top:04d}_x{left:04d}.png"
        gt = np.asarray(Image.open(tmp_path / "set/Patches/GT" / name))
        np.testing.assert_array_equal(gt, frames[middle][top : top + 48, left : left + 48])
        lr = np.asarray(Image.open(tmp_path / "set/Patches/LR" / name)).reshape(n_frames, 48 // scale, 48 // scale, 3)
        y, x = top // scale, left // scale
        expected = [frame[y : y + 48 // scale, x : x + 48 // scale] for frame in whole[first : first + n_frames]]
        np.testing.assert_array_equal(lr, np.stack(expected))


def test_overlapping_windows_in_any_order_all_get_their_frames(
    tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    frames = textured(0, 12)
    starts = [7, 0, 3, 0, 4, 2]
    corners = [(start, 3 * i, 0) for i, start in enumerate(starts)]
    writer = write(tmp_path, write_video(tmp_path / "a.mkv", frames), 3, 5, *corners)

    assert writer.written == {"Patches": 6}
    for start, top, left in corners:
        gt = Image.open(tmp_path / f"set/Patches/GT/a_s000_f{start + 2:06d}_y{top:04d}_x{left:04d}.png")
        np.testing.assert_array_equal(np.asarray(gt), frames[start + 2][top : top + 48, left : left + 48])


def test_the_first_detailed_corner_is_taken_and_flat_or_repeated_windows_are_counted(
    tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    frames = textured(0, 5)
    for frame in frames:
        frame[:, :60] = 90
    writer = PatchWriter(tmp_path / "set", 3, 5)
    writer.make_folders()
    found = survey(Source("a.mkv", write_video(tmp_path / "a.mkv", frames)))
    windows = [window_at(found, 0, (0, 0), (0, 63)), window_at(found, 0, (0, 0)), window_at(found, 0, (0, 63))]
    writer.write(found, "a", windows)

    assert [path.name for path in (tmp_path / "set/Patches/GT").iterdir()] == ["a_s000_f000002_y0000_x0063.png"]
    assert writer.rejected == {"flat": 1, "duplicate": 1}


def test_a_file_that_breaks_after_the_survey_is_counted_and_does_not_end_the_work(
    clips_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bikes.mp4"
    content = bytearray((clips_folder / "bikes.mp4").read_bytes())
    path.write_bytes(content)
    found = survey(Source("bikes.mp4", path))
    middle = len(content) // 2
    content[middle : middle + 20_000] = np.random.default_rng(0).bytes(20_000)
    path.write_bytes(content)
    writer = PatchWriter(tmp_path / "set", 3, 5)
    writer.make_folders()
    writer.write(found, "bikes", [window_at(found, first, (120, 300)) for first in (50, 200, 210)])

    assert writer.written == {"Patches": 1}
    assert writer.rejected == {"unreadable": 2}


def test_detail_is_the_mean_step_between_neighbouring_pixels() -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    ramp = np.broadcast_to(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], (8, 8, 3))
    assert detail_of(flat) == 0.0
    assert detail_of(ramp) == pytest.approx(5.0)  # 10 along rows, 0 along columns


def test_edges_between_colours_of_one_brightness_are_no_flat_picture() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 1] = 120
    assert detail_of(stripes) == pytest.approx(60.0)


def test_labels_are_safe_file_names_and_all_different() -> None:
    labels = labels_of(["a/b c.mp4", "a-b c.mkv", "Größe (1).mov", "???"])
    assert labels == {"a/b c.mp4": "a-b-c", "a-b c.mkv": "a-b-c-2", "Größe (1).mov": "Gr-e-1", "???": "video"}

"""Scene cuts: known ones in real clips, and differences made to mislead."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddp.vsr.prepare.scenes import Scene, find_cuts, survey
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import DamagedVideoError


@pytest.mark.parametrize(
    ("name", "starts"),
    [("bikes.mp4", [0, 30, 76, 137, 187, 242]), ("bigbuckbunny.mp4", [0]), ("cityCC0.mpg", [0, 116])],
)
def test_the_cuts_of_the_real_clips_are_found(clips_folder: Path, name: str, starts: list[int]) -> None:
    """The starts were checked by eye on a contact sheet."""
    found = survey(Source(name, clips_folder / name), halve_from=720)

    assert [scene.first_frame for scene in found.scenes] == starts
    assert sum(scene.frame_count for scene in found.scenes) == found.frame_count
    assert (found.damage, found.frames_per_second) == ("", 25.0)
    assert max(found.height, found.width) <= 720


def test_a_cut_between_lossless_scenes_is_found_at_its_frame(
    tmp_path: Path,
    textured: Callable[..., list[NDArray[np.uint8]]],
    write_video: Callable[[Path, list[NDArray[np.uint8]]], Path],
) -> None:
    path = write_video(tmp_path / "a.mkv", [*textured(0, 11), *textured(3, 8), *textured(1, 6)])
    source = Source("a.mkv", path)
    assert survey(source).scenes == (Scene(source, 0, 0, 11), Scene(source, 1, 11, 8), Scene(source, 2, 19, 6))


def test_a_fast_pan_is_no_cut_but_a_change_that_stands_out_of_it_is() -> None:
    pan = [18.0, 20.0, 20.0, 19.0, 18.0]
    assert find_cuts(pan) == []
    assert find_cuts([*pan, 40.0, *pan]) == [6]


def test_a_flash_of_light_is_no_cut_and_small_changes_never_are() -> None:
    assert find_cuts([1.0, 1.0, 30.0, 30.0, 1.0, 1.0]) == []
    assert find_cuts([0.1, 7.9, 0.1]) == []


def test_two_hard_cuts_close_together_are_both_found() -> None:
    assert find_cuts([1.0, 60.0, 1.0, 60.0, 1.0]) == [2, 4]


def test_a_change_in_the_first_or_last_pair_can_be_a_cut() -> None:
    assert find_cuts([20.0, 1.0, 1.0, 20.0]) == [1, 4]
    assert find_cuts([20.0]) == [1]
    assert find_cuts([]) == []


def test_a_damaged_clip_is_surveyed_up_to_the_damage_and_an_unreadable_one_is_refused(
    clips_folder: Path, tmp_path: Path
) -> None:
    content = (clips_folder / "cityCC0.mpg").read_bytes()
    part = tmp_path / "part.mpg"
    part.write_bytes(content[: len(content) // 2])
    found = survey(Source("part.mpg", part))
    assert 20 < found.frame_count < 190
    assert found.damage

    part.write_bytes(content[:500])
    with pytest.raises(DamagedVideoError):
        survey(Source("part.mpg", part))


def test_an_odd_image_of_a_sequence_parts_it_and_is_named(
    tmp_path: Path, textured: Callable[..., list[NDArray[np.uint8]]]
) -> None:
    for number, frame in enumerate(textured(0, 12)):
        Image.fromarray(frame).save(tmp_path / f"f_{number:02d}.png")
    (tmp_path / "f_03.png").write_bytes(b"")
    (tmp_path / "f_08.png").write_bytes((tmp_path / "f_08.png").read_bytes()[:200])
    Image.new("RGB", (30, 20)).save(tmp_path / "cover.png")
    source = Source("shot", tmp_path)
    found = survey(source)

    assert found.scenes == (Scene(source, 0, 1, 3), Scene(source, 1, 5, 4), Scene(source, 2, 10, 3))
    assert (found.height, found.width, found.damage) == (96, 120, "")
    assert {item.name: item.reason for item in found.skipped if item.name != "f_08.png"} == {
        "cover.png": "it is 30x20, but most images there are 120x96",
        "f_03.png": "it is empty",
    }
    assert len(found.skipped) == 3


def test_a_sequence_without_a_readable_image_is_refused_with_an_example(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(DamagedVideoError, match=r"none of its images can be read, such as a\.png: it is not a known"):
        survey(Source("shot", tmp_path))

"""The name of a preview's file: the clip's, as the API lists and a disk takes it."""

import pytest

from api.artifacts.previews import media_type
from ddp.training.passes.preview_pass import file_name


@pytest.mark.parametrize(
    ("clip", "frame", "frames", "name"),
    [
        ("bikes_0001.png", 0, 1, "rendered_bikes_0001.png.webp"),
        ("day 1/räder.mp4", 100, 1, "rendered_day 1_räder.mp4_100.webp"),
        ("walk", 0, 3, "rendered_walk_0.webp"),
        ("a\u00a0b.mp4", 0, 1, "rendered_a_b.mp4.webp"),
    ],
)
def test_it_says_clip_and_first_frame(clip: str, frame: int, frames: int, name: str) -> None:
    found = file_name({"clip": clip, "frame": frame, "frames": frames})

    assert found == name
    assert media_type(found) == "image/webp"


def test_a_long_name_is_cut_in_front_to_what_a_disk_takes() -> None:
    found = file_name({"clip": "街" * 490 + "/end.mp4", "frame": 10**6, "frames": 48})

    assert len(found.encode()) <= 255
    assert found.endswith("街_end.mp4_1000000.webp")

"""A part of a clip: which file is meant, which frames are read, where the cuts are; and the process that reads it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddp.validation.preview.__main__ import read_part
from ddp.validation.preview.clip_part import PartRequest, part_from_bytes
from ddp.validation.preview.reading import read_in_process
from service.errors import UserError
from tests.ddp.harness.lossless_video import VideoMaker
from tests.ddp.harness.lossless_video import write_video as write_video  # a fixture

CUT = 6


@pytest.fixture
def frames() -> list[NDArray[np.uint8]]:
    """Ten frames with a cut before the seventh."""
    rng = np.random.default_rng(0)
    first, second = (np.kron(rng.integers(0, 255, (4, 5, 3)), np.ones((4, 4, 1))).astype(np.uint8) for _ in range(2))
    second = 255 - first // 2 if np.abs(first.astype(int) - second).mean() < 60 else second
    return [np.clip(first.astype(int) + i, 0, 255).astype(np.uint8) for i in range(CUT)] + [second] * 4


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., PartRequest]:
    wanted = PartRequest(str(tmp_path), "street.mkv", first=0, count=1, margin=2, max_pixels=10**6)
    return lambda **values: replace(wanted, **values)


def test_the_frames_that_are_asked_for_are_read_with_their_neighbours_up_to_a_cut(
    tmp_path: Path, frames: list[NDArray[np.uint8]], write_video: VideoMaker, request_for: Callable[..., PartRequest]
) -> None:
    (tmp_path / "day").mkdir()
    write_video(tmp_path / "day" / "street.mkv", frames)

    part = read_part(request_for(name="day/street.mkv", first=4, count=3))

    assert (part.first, part.shown, part.scenes, part.rate) == (2, (4, 7), ((2, 6), (6, 9)), 25.0)
    np.testing.assert_array_equal(part.frames, np.stack(frames[2:9]))
    expected = [frames[number] for number in (3, 4, 5, 5, 5)]
    np.testing.assert_array_equal(part.window(5, 5), np.stack(expected))  # the cut is right behind it
    np.testing.assert_array_equal(part.window(6, 5), np.stack([frames[i] for i in (6, 6, 6, 7, 8)]))
    again = part_from_bytes(part.to_bytes())
    np.testing.assert_array_equal(again.frames, part.frames)
    assert (again.first, again.shown, again.scenes) == (part.first, part.shown, part.scenes)


def test_a_folder_of_numbered_pictures_and_a_single_picture_are_clips_too(
    tmp_path: Path, frames: list[NDArray[np.uint8]], request_for: Callable[..., PartRequest]
) -> None:
    (tmp_path / "walk").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "walk" / f"frame_{number}.png")

    folder = read_part(request_for(name="walk", first=8, count=9))
    picture = read_part(request_for(name="walk/frame_3.png"))

    assert (folder.shown, len(folder.frames)) == ((8, 10), 4)
    np.testing.assert_array_equal(picture.frames, frames[3][None])
    assert (picture.shown, picture.scenes) == ((0, 1), ((0, 1),))


def test_no_file_outside_the_folder_is_read(tmp_path: Path, request_for: Callable[..., PartRequest]) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.png"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(outside)
    (root / "link.png").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "notes.txt").write_text("a secret")

    for name, sentence in {
        "link.png": "leads out of",
        "folder/outside.png": "leads out of",
        "folder": "leads out of",
        "../outside.png": "leads out of",
        str(outside): "leads out of",
        ".": "leads out of",
        "loop.png": "there is no clip loop.png in",
        "other.png": "there is no clip other.png in",
        "notes.txt": "is neither a video, nor a picture",
    }.items():
        with pytest.raises(UserError, match=sentence):
            read_part(request_for(root=str(root), name=name))


def test_a_clip_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, frames: list[NDArray[np.uint8]], write_video: VideoMaker, request_for: Callable[..., PartRequest]
) -> None:
    write_video(tmp_path / "street.mkv", frames)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "nothing").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")

    for values, sentence in (
        ({"first": 10}, "has 10 frames, so there is no frame 10|has fewer frames, so there is no frame 10"),
        ({"first": 500}, "has fewer frames, so there is no frame 500"),
        ({"max_pixels": 319}, "frames of 20x16 pixels, too large to show 1 of them"),
        ({"name": "empty.mp4"}, "empty.mp4 cannot be rendered: "),
        ({"name": "text.mp4"}, "text.mp4 cannot be rendered: it is no video"),
        ({"name": "pipe.mp4"}, "pipe.mp4 cannot be rendered: "),
        ({"name": "nothing"}, "nothing has fewer frames"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_part(request_for(**values))


def test_the_process_that_reads_answers_fails_in_a_sentence_and_ends_when_it_is_not_waited_for(
    tmp_path: Path, frames: list[NDArray[np.uint8]], request_for: Callable[..., PartRequest]
) -> None:
    Image.fromarray(frames[0]).save(tmp_path / "one.png")
    waited: list[int] = []

    part = read_in_process(request_for(name="one.png"), lambda: waited.append(1))

    np.testing.assert_array_equal(part.frames, frames[0][None])
    assert waited
    with pytest.raises(UserError, match=r"^there is no clip two\.png in .* \(No such file or directory\)$"):
        read_in_process(request_for(name="two.png"), lambda: None)
    with pytest.raises(UserError, match="was not read up to frame 0 within 0 s"):
        read_in_process(request_for(name="one.png"), lambda: None, seconds=0)

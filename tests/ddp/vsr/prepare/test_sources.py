"""What is found below a folder of videos: through links, past what is odd, and never twice."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddp.vsr.prepare.sources import find_sources
from service.errors import UserError
from tests.ddp.vsr.conftest import ODD_KINDS

Textured = Callable[..., list[NDArray[np.uint8]]]


def write_images(folder: Path, frames: list[NDArray[np.uint8]]) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{number}.png")
    return folder


def names_below(folder: Path) -> list[str]:
    return [source.name for source in find_sources(folder).sources]


def skipped_below(folder: Path) -> dict[str, str]:
    return {item.name: item.reason for item in find_sources(folder).skipped}


def test_videos_and_sequences_are_found_below_a_folder_and_the_rest_is_left(tmp_path: Path, textured: Textured) -> None:
    root = tmp_path / "mine"
    for name in (
        "b.MP4",
        "a/c.mkv",
        "a/cover.jpg",
        "a/poster.jpg",
        ".trash/d.mp4",
        "set/e.mp4",
        "notes.txt",
        "._b.mp4",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    write_images(root / "shot", textured(0, 2))
    write_images(root / "single", textured(0, 1))

    found = find_sources(root, exclude=root / "set").sources
    assert [source.name for source in found] == ["b.MP4", "a/c.mkv", "shot"]
    assert [source.is_sequence for source in found] == [False, False, True]
    assert [source.name for source in find_sources(root / "shot").sources] == ["shot"]


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no video"):
        find_sources(tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        find_sources(tmp_path / "nowhere")


def test_a_linked_folder_is_entered_beside_own_ones(tmp_path: Path, textured: Textured) -> None:
    write_images(tmp_path / "store" / "REDS" / "000", textured(0, 2))
    (tmp_path / "store" / "film.mkv").touch()
    write_images(tmp_path / "videos" / "own", textured(0, 2))
    (tmp_path / "videos" / "REDS").symlink_to("../store/REDS")
    (tmp_path / "videos" / "film.mkv").symlink_to("../store/film.mkv")

    assert names_below(tmp_path / "videos") == ["film.mkv", "REDS/000", "own"]


def test_links_in_circles_and_to_the_same_folder_are_named_and_entered_once(tmp_path: Path, textured: Textured) -> None:
    videos = tmp_path / "videos"
    write_images(videos / "z", textured(0, 2))
    (videos / "again").symlink_to("z")
    (videos / "z" / "self").symlink_to(".")
    (videos / "z" / "up").symlink_to("../..")
    (videos / "gone").symlink_to("/nowhere")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "back").symlink_to("../videos")
    (videos / "one").symlink_to("../one")

    assert names_below(videos) == ["z"]
    assert skipped_below(videos) == {
        "again": "it leads to a folder that is entered elsewhere",
        "one/back": "it leads to a folder that is entered elsewhere",
        "z/self": "it is a link to a folder above",
        "z/up": "it is a link to a folder above",
        "gone": "it is a link that leads nowhere",
    }


def test_previews_of_a_nas_are_passed_over(tmp_path: Path, textured: Textured) -> None:
    """Whose folders are named like the pictures, with several sizes in each."""
    write_images(tmp_path / "000", textured(0, 2))
    write_images(tmp_path / "000" / "@eaDir" / "frame_0.png", textured(0, 2))

    assert names_below(tmp_path) == ["000"]
    assert skipped_below(tmp_path) == {}


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_no_entry_of_a_folder_costs_more_than_itself(
    tmp_path: Path, textured: Textured, suffix: str, put_odd_entries: Callable[[Path, str], None]
) -> None:
    """What can only be known by opening it is left to the readers: an empty file, a huge picture."""
    folder = write_images(tmp_path / "shot", textured(0, 2))
    put_odd_entries(folder, suffix)
    opened = {"empty", "huge"}

    assert names_below(tmp_path) == (["shot"] if suffix == ".png" else ["shot/empty.mp4", "shot/huge.mp4"])
    assert {Path(name).stem: reason for name, reason in skipped_below(tmp_path).items()} == {
        kind: reason for kind, reason in ODD_KINDS.items() if kind not in opened
    } | ({} if suffix == ".png" else {"shot": "its 2 pictures are left out: there are videos beside"})


def test_a_folder_whose_name_is_not_utf8_is_named(tmp_path: Path, textured: Textured) -> None:
    write_images(tmp_path / "shot", textured(0, 2))
    write_images(tmp_path / os.fsdecode(b"\xe9t\xe9"), textured(0, 2))

    assert names_below(tmp_path) == ["shot"]
    assert skipped_below(tmp_path) == {r"\xe9t\xe9": "its name is not UTF-8: rename it"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_permission_is_named(tmp_path: Path, textured: Textured) -> None:
    write_images(tmp_path / "shot", textured(0, 2))
    (tmp_path / "secret").mkdir(mode=0)

    assert names_below(tmp_path) == ["shot"]
    assert skipped_below(tmp_path) == {"secret": "Permission denied"}


def test_where_nothing_is_usable_the_error_names_what_was_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(
        UserError, match=r"holds no video .*; 1 entries were left out, such as a\.mp4: it is a named pipe"
    ):
        find_sources(tmp_path)


def test_a_patch_set_and_what_a_run_wrote_are_no_material_and_are_named(tmp_path: Path, textured: Textured) -> None:
    root = tmp_path / "mine"
    write_images(root / "shot", textured(0, 2))
    for part in ("set/Patches/GT", "set/Patches/LR", "set/Val/GT", "set/Val/LR", "run/previews/step_100", "Val/GT/000"):
        write_images(root / part, textured(1, 3))
    (root / "run/run.json").touch()
    write_images(root / "run/archive/0001/previews/step_50", textured(1, 3))
    write_images(root / "run/shot", textured(2, 2))
    (root / "link").symlink_to(root / "run/previews")

    assert names_below(root) == ["Val/GT/000", "run/shot", "shot"]
    assert skipped_below(root) == {
        "set/Patches": "it is a side of a patch set, not material for one",
        "set/Val": "it is a side of a patch set, not material for one",
        "run/previews": "it holds the previews of a run",
        "run/archive": "it holds the archive of a run",
        "link": "it holds the previews of a run",
    }


@pytest.mark.parametrize("part", ["set", "set/Patches", "set/Patches/GT", "run/previews", "run/previews/step_100"])
def test_a_folder_of_videos_within_a_product_is_refused_with_the_reason(
    tmp_path: Path, textured: Textured, part: str
) -> None:
    for folder in ("set/Patches/GT", "set/Patches/LR", "run/previews/step_100"):
        write_images(tmp_path / folder, textured(1, 3))
    (tmp_path / "run/run.json").touch()
    with pytest.raises(UserError, match=r"a side of a patch set|the previews of a run"):
        find_sources(tmp_path / part)


def test_folders_called_like_those_of_a_run_are_material_elsewhere(tmp_path: Path, textured: Textured) -> None:
    write_images(tmp_path / "archive/previews", textured(1, 3))
    assert names_below(tmp_path) == ["archive/previews"]


def test_one_frame_in_two_kinds_of_files_is_used_once(tmp_path: Path, textured: Textured) -> None:
    folder = write_images(tmp_path / "shot", textured(0, 3))
    for number in (0, 1):
        (folder / f"frame_{number}.jpg").write_bytes(b"a preview")
    (source,) = find_sources(tmp_path).sources
    assert [path.name for path in source.files()] == ["frame_0.png", "frame_1.png", "frame_2.png"]
    assert skipped_below(tmp_path) == {
        f"shot/frame_{number}.jpg": f"frame_{number}.png beside it is the same frame" for number in (0, 1)
    }


def test_pictures_beside_a_video_and_kinds_that_are_not_read_are_named(tmp_path: Path, textured: Textured) -> None:
    folder = write_images(tmp_path / "a", textured(0, 2))
    (folder / "film.mkv").touch()
    write_images(tmp_path / "b", textured(1, 2))
    for name in ("x.exr", "y.EXR", "z.gif"):
        (tmp_path / "b" / name).touch()
    found = [(item.name, item.reason) for item in find_sources(tmp_path).skipped]
    assert found == [
        ("a", "its 2 pictures are left out: there are videos beside"),
        ("b", "it holds 2 .exr files, a kind that is not read: convert to .png"),
        ("b", "it holds 1 .gif file, a kind that is not read: convert to .png"),
    ]

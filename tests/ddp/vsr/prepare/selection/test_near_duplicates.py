"""Copies of clips under other names: re-encoded, resized, brightened, in another rate; and clips that are others."""

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from ddp.vsr.prepare.scenes import Scene, Survey, survey
from ddp.vsr.prepare.selection.frame_hashes import (
    FLAT,
    frame_hash,
    hashes_as_text,
    hashes_of_text,
    near,
)
from ddp.vsr.prepare.selection.near_duplicates import Match, Spot, groups_of, matches_between
from ddp.vsr.prepare.selection.split import split_scenes
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import read_frames
from service.errors import UserError

Textured = Callable[..., list[NDArray[np.uint8]]]
VideoMaker = Callable[[Path, list[NDArray[np.uint8]]], Path]


def encoded(path: Path, frames: list[NDArray[np.uint8]], crf: int = 33, size: tuple[int, int] | None = None) -> Path:
    """A lossy copy by x264."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=Fraction(25), options={"crf": str(crf), "preset": "ultrafast"}
        )
        height, width = (length // 2 * 2 for length in frames[0].shape[:2])
        stream.width, stream.height = size or (width, height)
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = np.asarray(Image.fromarray(frame).resize((stream.width, stream.height)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def frames_of(path: Path, first: int, count: int) -> list[NDArray[np.uint8]]:
    return [frame for _, frame in read_frames(Source("", path), set(range(first, first + count)))]


@pytest.fixture(scope="module")
def shots(clips_folder: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """48 frames of three real shots."""
    places = {"bikes": ("bikes.mp4", 0), "bunny": ("bigbuckbunny.mp4", 10)}
    shots = {name: frames_of(clips_folder / clip, first, 48) for name, (clip, first) in places.items()}
    return {**shots, "city": frames_of(clips_folder / "cityCC0.mpg", 60, 48)}


CHANGES: dict[str, Callable[[Path, list[NDArray[np.uint8]]], Path]] = {
    "re-encoded": lambda path, frames: encoded(path, frames),
    "resized": lambda path, frames: encoded(path, frames, size=(322, 180)),
    "brighter": lambda path, frames: encoded(path, [(np.minimum(f * 0.8 + 40, 255)).astype(np.uint8) for f in frames]),
    "darker": lambda path, frames: encoded(path, [(f * 0.6).astype(np.uint8) for f in frames]),
    "half the rate": lambda path, frames: encoded(path, frames[1::2]),
    "a part": lambda path, frames: encoded(path, frames[16:44]),
}


@pytest.fixture(scope="module")
def surveys(shots: dict[str, list[NDArray[np.uint8]]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Survey]:
    folder = tmp_path_factory.mktemp("shots")
    return {name: surveyed(encoded(folder / f"{name}.mp4", frames, crf=10)) for name, frames in shots.items()}


def surveyed(path: Path) -> Survey:
    return survey(Source(path.name, path))


def spots(*found: Survey) -> list[Spot]:
    return [Spot(one.source.name, scene, hashes_of_text(one.frame_hashes)) for one in found for scene in one.scenes]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["bikes", "city"])
def test_a_changed_copy_under_another_name_is_known_again(
    name: str, change: str, shots: dict[str, list[NDArray[np.uint8]]], surveys: dict[str, Survey], tmp_path: Path
) -> None:
    copy = surveyed(CHANGES[change](tmp_path / "holiday.mp4", shots[name]))
    known = spots(*surveys.values())
    found = matches_between(known, spots(copy))

    assert {known[match.first].name for match in found} == {f"{name}.mp4"}
    if change in {"re-encoded", "resized", "brighter", "darker"}:
        assert all(abs(match.first_frame - match.second_frame) <= 8 for match in found)


def test_shots_of_different_things_are_not_taken_for_copies(surveys: dict[str, Survey]) -> None:
    for one, other in itertools.combinations(surveys.values(), 2):
        assert matches_between(spots(one), spots(other)) == []


def test_a_hash_is_that_of_a_cosine_transform_by_scipy() -> None:
    grey = np.random.default_rng(0).normal(128, 40, (36, 64)).astype(np.float32)
    coefficients = dctn(grey.astype(float), type=2)[1:9, 1:9].ravel()
    expected = "".join("1" if bit else "0" for bit in coefficients > np.median(coefficients))

    assert f"{frame_hash(grey):064b}" == expected


def test_what_shows_nothing_has_no_hash_and_is_like_nothing() -> None:
    assert frame_hash(np.full((36, 64), 16, np.float32)) == FLAT
    source = Source("black", Path("black"))
    black = Spot("black", Scene(source, 0, 0, 50), np.full(50, FLAT, np.uint64))
    assert matches_between([black], [black]) == []


@pytest.mark.parametrize("has_bit_count", [True, False])
def test_ten_bits_are_near_and_eleven_are_not(has_bit_count: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With numpy's count of bits, and without it, as before numpy 2."""
    if not has_bit_count:
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    first = np.array([2**64 - 1, 5], np.uint64)
    second = np.array([2**64 - 2**10, 2**64 - 2**11, 5], np.uint64)

    assert near(first, second).tolist() == [[True, False, False], [False, False, True]]
    assert hashes_of_text(hashes_as_text([5, 2**64 - 1])).tolist() == [5, 2**64 - 1]


def test_groups_are_chains_of_matches() -> None:
    assert groups_of(6, [Match(0, 3, 0, 0), Match(5, 3, 0, 0), Match(1, 1, 0, 0)]) == [0, 1, 2, 0, 4, 0]


def split_of(*found: Survey, held_out: frozenset[str] = frozenset(), seed: int = 0, share: float = 0.3) -> set[str]:
    """The sources validated on."""
    return {scene.source.name for scene in split_scenes(found, held_out, share, 5, seed).val}


@pytest.mark.parametrize("seed", range(6))
def test_a_copy_is_on_the_side_of_its_original(
    seed: int, shots: dict[str, list[NDArray[np.uint8]]], surveys: dict[str, Survey], tmp_path: Path
) -> None:
    copy = surveyed(CHANGES["resized"](tmp_path / "copy.mp4", shots["city"]))
    val = split_of(surveys["bikes"], surveys["bunny"], surveys["city"], copy, seed=seed, share=0.5)

    assert len(val & {"city.mp4", "copy.mp4"}) in {0, 2}
    assert val


def test_a_copy_of_what_is_only_validated_on_is_refused_by_name_and_frame(
    shots: dict[str, list[NDArray[np.uint8]]], surveys: dict[str, Survey], tmp_path: Path
) -> None:
    copy = surveyed(CHANGES["brighter"](tmp_path / "copy.mp4", shots["city"]))
    with pytest.raises(UserError, match=r"frame \d+ of copy\.mp4 looks like frame \d+ of city\.mp4, which is only"):
        split_of(surveys["bikes"], copy, surveys["city"], held_out=frozenset({"city.mp4"}))


def test_nothing_but_a_clip_and_its_copy_is_refused(
    shots: dict[str, list[NDArray[np.uint8]]], surveys: dict[str, Survey], tmp_path: Path
) -> None:
    copy = surveyed(CHANGES["re-encoded"](tmp_path / "copy.mp4", shots["city"]))
    with pytest.raises(UserError, match=r"all scenes show the same pictures, such as frame \d+ of city\.mp4 and frame"):
        split_of(surveys["city"], copy)


def test_scenes_of_one_camera_alone_are_split_with_a_warning(textured: Textured, tmp_path: Path) -> None:
    """A flash parts what shows the same."""
    frames = textured(0, 30)
    bright = np.full_like(frames[0], 255)
    path = encoded(tmp_path / "street.mp4", [*frames, bright, *frames], crf=5)
    found = split_scenes([surveyed(path)], frozenset(), 0.3, 5, 0)

    assert found.train
    assert found.val
    assert "all scenes of street.mp4 show the same pictures" in found.warnings[0]

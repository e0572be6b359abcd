"""Folders of pictures and single pictures, enlarged."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ddp.inference.network import TrainedNetwork
from ddp.inference.upscale.work import Wishes, upscale
from ddp.vsr.pictures import read_picture
from service.errors import UserError
from tests.ddp.harness.colour_formula import natural_noise
from tests.ddp.inference.conftest import bilinear, trained

CPU = torch.device("cpu")


def run(source: Path, target: Path, network: TrainedNetwork, **wishes: Any) -> list[str]:
    """Return the sentences about what was left out."""
    return upscale(source, target, network, CPU, Wishes(**wishes), lambda _: None)


def natural(seed: int, height: int = 40, width: int = 56) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    picture = np.stack([120 + 40 * natural_noise(random, height, width) for _ in range(3)], -1)
    return picture.clip(0, 255).astype(np.uint8)


def save(path: Path, picture: NDArray[np.uint8], **options: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(path, **options)


def test_the_untrained_networks_picture_is_the_bilinear_enlargement_to_rounding(
    tmp_path: Path, network: TrainedNetwork
) -> None:
    save(tmp_path / "a.png", natural(0))
    run(tmp_path / "a.png", tmp_path / "b.png", network)
    difference = read_picture(tmp_path / "b.png") - bilinear(natural(0).astype(np.float64), 3)
    assert np.abs(difference).max() < 0.51


def test_pictures_of_a_folder_keep_their_names_sizes_and_profiles(tmp_path: Path, network: TrainedNetwork) -> None:
    profile = bytes(16) + b"RGB " + bytes(108)
    for name, size in {"2.png": (40, 56), "10.png": (40, 56), "1.png": (24, 16)}.items():
        save(tmp_path / "in" / name, natural(1, *size), icc_profile=profile)

    assert run(tmp_path / "in", tmp_path / "out", network) == []

    with Image.open(tmp_path / "out" / "1.png") as picture:
        assert (picture.size, picture.info["icc_profile"]) == ((48, 72), profile)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.png", "2.png", "10.png"}


def test_pictures_of_different_scenes_do_not_know_each_other(tmp_path: Path) -> None:
    network = trained()
    for number in range(4):
        save(tmp_path / "in" / f"{number}.png", natural(7) // 3 + 80 * (number % 3))
    run(tmp_path / "in", tmp_path / "out", network)
    run(tmp_path / "in" / "2.png", tmp_path / "alone.png", network)
    assert (read_picture(tmp_path / "out" / "2.png") == read_picture(tmp_path / "alone.png")).all()


def test_frames_with_gaps_in_their_numbers_are_neighbours_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    network = trained()
    wide = natural(3, 40, 100)
    for place, number in enumerate([1, 2, 9, 10, 11]):
        save(tmp_path / "gaps" / f"f{number}.png", wide[:, place : place + 56])
        save(tmp_path / "whole" / f"f{place + 1}.png", wide[:, place : place + 56])
    run(tmp_path / "gaps", tmp_path / "a", network)
    run(tmp_path / "whole", tmp_path / "b", network)
    assert (read_picture(tmp_path / "a" / "f9.png") == read_picture(tmp_path / "b" / "f3.png")).all()


def test_a_picture_that_cannot_be_read_costs_itself_only(tmp_path: Path, network: TrainedNetwork) -> None:
    for name in ("1.png", "2.png", "3.png"):
        save(tmp_path / "in" / name, natural(1))
    content = (tmp_path / "in" / "2.png").read_bytes()
    (tmp_path / "in" / "2.png").write_bytes(content[: len(content) // 2])

    (sentence,) = run(tmp_path / "in", tmp_path / "out", network)

    assert sentence.startswith("2.png: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.png", "3.png"]


def test_a_folder_becomes_a_video_at_the_wanted_rate(tmp_path: Path, network: TrainedNetwork) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", natural(1))
    run(tmp_path / "in", tmp_path / "b.mkv", network, rate=Fraction(10))
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert [float(frame.time) for frame in container.decode(video=0)] == [0.0, 0.1, 0.2]


def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path: Path, network: TrainedNetwork) -> None:
    save(tmp_path / "in" / "1.png", natural(1))
    save(tmp_path / "in" / "2.png", natural(1, 24, 16))
    (tmp_path / "empty").mkdir()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    refused = {
        ("in", "b.mkv"): "holds pictures of several sizes, which make no video",
        ("in", "b.png"): "is one picture, but",
        ("in", "b.xyz"): "cannot be written as .xyz",
        ("in", "nowhere/b"): "is no folder: make it",
        ("in", "full"): "exists already",
        ("empty", "b"): "holds no pictures",
        ("videos", "b"): "name one of its videos, such as",
    }
    for (source, target), reason in refused.items():
        with pytest.raises(UserError, match=reason):
            run(tmp_path / source, tmp_path / target, network)


def test_two_pictures_that_would_become_one_are_refused(tmp_path: Path, network: TrainedNetwork) -> None:
    save(tmp_path / "in" / "a.png", natural(1))
    save(tmp_path / "in" / "a.jpg", natural(1))
    with pytest.raises(UserError, match="several pictures named a, which would become one"):
        run(tmp_path / "in", tmp_path / "out", network)

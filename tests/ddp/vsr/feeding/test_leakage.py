"""Several patch sets of one training, one of which holds a copy of what the other is validated on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr import workload
from ddp.vsr.feeding.leakage import check_leakage
from ddp.vsr.prepare.manifest import PatchSettings
from ddp.vsr.prepare.pipeline import Work, prepare_videos
from service.config.settings import RunConfig
from service.errors import DatasetError

Textured = Callable[..., list[NDArray[np.uint8]]]
VideoMaker = Callable[[Path, list[NDArray[np.uint8]]], Path]

SETTINGS = PatchSettings(patch_size=48, val_width=60, val_height=48, patch_count=12, val_count=2, val_share=0.4)


def scene(seed: int, count: int) -> list[NDArray[np.uint8]]:
    """Large shapes, as pictures have them; the camera pans."""
    draw = np.random.default_rng(seed)
    shapes = np.kron(draw.integers(20, 230, (8, 16, 3)), np.ones((16, 16, 1)))
    shapes += np.kron(draw.integers(-15, 15, (32, 64, 3)), np.ones((4, 4, 1)))
    return [np.ascontiguousarray(shapes[:96, i : i + 120]).clip(0, 255).astype(np.uint8) for i in range(count)]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, write_video: VideoMaker) -> dict[str, Path]:
    """`day`; `night`, which shows nothing of it; `copy`, which trains on a brighter copy of what `day` validates on."""
    root = tmp_path_factory.mktemp("sets")
    for name, seeds in (("day", (0, 1, 2)), ("night", (3, 4, 5))):
        (root / name / "videos").mkdir(parents=True)
        for seed in seeds:
            write_video(root / name / "videos" / f"{seed}.mkv", scene(seed, 30))
        prepare_videos(root / name / "videos", root / name / "set", SETTINGS, Work(lambda _: None))
    (root / "copy" / "videos").mkdir(parents=True)
    validated = [int(name.split("_")[0]) for name in names(root / "day" / "set" / "Val")]
    for seed in (validated[0], 8, 9, 10):
        frames = [(frame * 0.7 + 50).astype(np.uint8) for frame in scene(seed, 30)]
        write_video(root / "copy" / "videos" / f"holiday-{seed}.mkv", frames)
    prepare_videos(root / "copy" / "videos", root / "copy" / "set", SETTINGS, Work(lambda _: None))
    return {name: root / name / "set" for name in ("day", "night", "copy")}


def names(side: Path) -> list[str]:
    return sorted(path.name for path in (side / "GT").iterdir())


def test_a_set_holds_the_hashes_of_all_frames(sets: dict[str, Path]) -> None:
    content = json.loads((sets["day"] / "frame_hashes.json").read_text())
    assert {name: len(text) for name, text in content["sources"].items()} == {f"{seed}.mkv": 480 for seed in (0, 1, 2)}


def test_sets_that_share_nothing_are_mixed(sets: dict[str, Path]) -> None:
    assert check_leakage([sets["day"], sets["night"]]) == []
    assert check_leakage([sets["copy"]]) == []


def test_a_set_that_trains_on_what_another_validates_on_is_refused_by_name(sets: dict[str, Path]) -> None:
    config = RunConfig(dataset_root=sets["day"], data_sources=f"{sets['night']}:1", num_workers=0)
    workload.build(config)
    with pytest.raises(DatasetError, match=r"frame \d+ of .*\.mkv, on which .* trains, looks like frame \d+ of"):
        workload.build(replace(config, data_sources=f"{sets['night']}:1,{sets['copy']}:1"))


def test_a_set_without_hashes_is_named(sets: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    (line,) = check_leakage([sets["day"], tmp_path])
    assert f"{tmp_path} could not be checked" in line

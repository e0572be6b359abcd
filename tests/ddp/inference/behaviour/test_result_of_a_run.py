"""What a real training leaves, used: an enlarged picture and an exported file; and training on a packed copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddp.inference.export.__main__ import main as export
from ddp.inference.network import open_network
from ddp.inference.upscale.__main__ import main as upscale
from ddp.vsr.feeding.pack import main as pack
from ddp.vsr.patch_set import PatchSet
from ddp.vsr.pictures import read_picture
from service.config.settings import RunConfig
from tests.ddp.harness.training import Training

Train = Callable[..., Training]
VALUES = {"MAX_STEPS": 6, "VAL_STEP_EVERY": 3, "EMA_DECAY": 0.5}


@pytest.mark.parametrize("network", ["recurrent", "aligned"])
def test_a_run_enlarges_as_it_validates_and_its_exported_file_as_the_run(
    train: Train, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], network: str
) -> None:
    run = train(1, NETWORK=network, **VALUES)
    assert run.end() == 0, run.output
    opened = open_network(RunConfig(), run.root, None)
    lr, _ = PatchSet.open(tiny_dataset, "Val", 5, 3).read(1)

    given = tmp_path / "given"
    given.mkdir()
    for number, frame in enumerate(lr):
        save(frame, given / f"{number}.png")
    assert upscale([str(given), str(tmp_path / "out"), "--run", str(run.root)]) == 0
    assert export([str(tmp_path / "w.safetensors"), "--run", str(run.root)]) == 0
    assert upscale([str(given), str(tmp_path / "same"), "--from", str(tmp_path / "w.safetensors")]) == 0
    assert f"weights: {opened.origin}" in capsys.readouterr().out

    with torch.inference_mode():
        expected = opened.module(lr[None].float() / 255)[0].clamp(0, 1).mul(255).round().byte()
    picture = read_picture(tmp_path / "out" / "2.png")
    assert abs(torch.from_numpy(picture).permute(2, 0, 1).int() - expected.int()).max() <= 1
    assert (read_picture(tmp_path / "same" / "2.png") == picture).all()


def test_a_training_on_the_packed_copy_is_bit_for_bit_the_one_on_the_png_files(
    train: Train, tiny_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "packed")
    assert pack(["--dataset", str(tmp_path / "packed"), "--frames", "5", "--scale", "3"]) == 0

    packed = train(2, root="fast", output="fast.txt", DATASET_ROOT=tmp_path / "packed", NUM_WORKERS=1, **VALUES)
    again = train(2, root="slow", output="slow.txt", NUM_WORKERS=1, **VALUES)
    assert [run.end() for run in (packed, again)] == [0, 0], packed.output

    assert "Training pairs are read from" in packed.output
    assert "Training pairs are read from" not in again.output
    weights = [open_network(RunConfig(), run.root, None).sha256() for run in (packed, again)]
    assert weights[0] == weights[1]


def save(frame: torch.Tensor, path: Path) -> None:
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(path)

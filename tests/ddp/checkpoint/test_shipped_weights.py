"""The weights that come with Leitstand: whole, better than bicubic enlargement, and taken where nobody names others."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from ddp.checkpoint.initial_weights import read_initial_weights
from ddp.checkpoint.shipped.weights import SHIPPED, WEIGHTS_FILE, record
from ddp.inference.network import open_network
from ddp.inference.upscale.__main__ import main
from ddp.vsr.networks.choice import build
from ddp.vsr.prepare.resize import DEGRADATIONS
from service.config.loader import DEMONSTRATION, load_config
from service.config.settings import RunConfig

SIDE, SCALE = 144, 3
WHEEL_SHARE_BYTES = 1_000_000


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.uint8]]:
    """A camera that moves over a photograph by a pixel a frame; its small pictures are in `in`, and no run is there."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    photograph = data.coffee()
    frames = [np.ascontiguousarray(photograph[120 + i :, 180 + 2 * i :][:SIDE, :SIDE]) for i in range(5)]
    for number, frame in enumerate(frames):
        Image.fromarray(DEGRADATIONS["bicubic"](frame, SCALE)).save(f"in/{number}.png")
    return frames


def decibels(truth: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float:
    inner = np.s_[SCALE:-SCALE, SCALE:-SCALE]
    return float(peak_signal_noise_ratio(truth[inner], picture[inner]))


def test_the_record_is_of_these_weights() -> None:
    content = WEIGHTS_FILE.read_bytes()
    network = open_network(RunConfig(), Path("none"), Path(SHIPPED))
    said = record()

    assert said["weights"] == {"file": WEIGHTS_FILE.name, "sha256": hashlib.sha256(content).hexdigest()}
    assert len(content) < WHEEL_SHARE_BYTES
    assert {name: str(value) for name, value in network.settings.items()}.items() <= said["network"].items()
    assert said["network"]["parameters"] == sum(tensor.numel() for tensor in network.module.parameters())
    assert all(clip["licence"] and len(clip["sha256"]) == 64 for clip in said["trained_on"])
    assert not {clip["sha256"] for clip in said["trained_on"]} & {clip["sha256"] for clip in said["held_out"]}


def test_a_first_upscale_without_any_run_is_better_than_bicubic_and_says_whose_weights_it_takes(
    truth: list[NDArray[np.uint8]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["in", "out"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert [("shipped weights" in line, "--run DIR or --from FILE" in line) for line in said].count((True, True)) == 1
    gains = []
    for small, large, wanted in zip(sorted(Path("in").iterdir()), sorted(Path("out").iterdir()), truth, strict=True):
        with Image.open(small) as picture, Image.open(large) as enlarged:
            plain = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            scores = [decibels(wanted, np.asarray(shown)) for shown in (enlarged, plain)]
        gains.append(scores[0] - scores[1])
    assert min(gains) > 0.3, gains


def test_a_run_that_is_named_or_begun_and_has_no_weights_is_an_error_and_no_reason_to_take_others(
    truth: list[NDArray[np.uint8]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["in", "out", "--set", "WORKLOAD=service.errors"]) == 2
    assert "shipped" not in "".join(capsys.readouterr())
    Path("runs/default/checkpoints").mkdir(parents=True)  # of a run that has saved nothing yet
    for named in ([], ["--run", "runs/mine"], ["--set", "DATA_ROOT=runs/mine"]):
        assert main(["in", "out", *named]) == 2
        assert "checkpoint" in capsys.readouterr().err
    assert not Path("out").exists()


def test_the_demonstration_can_begin_with_them() -> None:
    config = load_config(DEMONSTRATION, [f"INIT_FROM={SHIPPED}"], {}).config
    network = build(config).module.state_dict()

    found = read_initial_weights(config.init_from, network)

    assert found.tensors.keys() == network.keys()
    assert found.sentence == f"INIT_FROM shipped: {len(network)} of the network's {len(network)} tensors match."
    assert all(torch.isfinite(tensor).all() for tensor in found.tensors.values())

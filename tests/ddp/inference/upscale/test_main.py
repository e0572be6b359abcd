"""The command as a process: exit codes, signals, and what a killed work leaves."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddp.checkpoint.safetensors import write_safetensors
from ddp.inference.upscale.__main__ import device_for, main
from service.errors import SettingError
from tests.ddp.harness.colour_formula import natural_planes
from tests.ddp.harness.launching import Launch
from tests.ddp.harness.training import Eventually
from tests.ddp.inference.conftest import Video, untrained


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = untrained()
    metadata = {key: str(value) for key, value in network.settings.items()}
    write_safetensors(tmp_path / "weights.safetensors", network.module.state_dict(), metadata)
    return tmp_path / "weights.safetensors"


def test_the_exit_code_says_whether_all_was_done(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in" / name)
    options = ["--from", str(weights)]

    assert main([str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 0
    assert "2 frames" in capsys.readouterr().out
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "in" / "2.png").write_bytes(b"no picture")
    assert main([str(tmp_path / "in"), str(tmp_path / "more"), *options]) == 2
    assert "Error: 2.png: " in capsys.readouterr().err
    assert (tmp_path / "more" / "1.png").exists()


@pytest.mark.parametrize("rate", ["0", "x", "1/0", "-3", "1e9"])
def test_a_rate_that_is_none_is_one_sentence(
    tmp_path: Path, weights: Path, rate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--from", str(weights), f"--rate={rate}"]
    assert main(arguments) == 2
    assert (
        capsys.readouterr().err
        == f"Error: --rate is {rate!r}: give pictures per second up to 1000, as 25 or 30000/1001\n"
    )


def test_a_wished_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SettingError, match="DEVICE is cuda"):
        device_for("cuda")
    assert device_for("auto") == torch.device("cpu")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_leaves_no_output_and_the_same_command_makes_it(
    tmp_path: Path, weights: Path, write_clip: Video, launch: Launch, eventually: Eventually, number: int, code: int
) -> None:
    source = write_clip(tmp_path / "a.mkv", [natural_planes(96, 128)] * 60)
    target = tmp_path / "out"
    command = [sys.executable, "-m", "ddp.inference.upscale", str(source), str(target), "--from", str(weights)]

    process = launch(command)
    made = tmp_path / ".tmp-upscale-out" / "pictures"
    eventually(lambda: len([*made.glob("*.png")]) > 2, seconds=120, what="three pictures")
    process.send_signal(number)
    assert process.wait(60) == code
    assert not target.exists()

    again = launch(command, "again.txt")
    assert again.wait(120) == 0
    assert "of 60 frames, which were made before" in (tmp_path / "again.txt").read_text()
    assert len([*target.iterdir()]) == 60

"""What the neighbouring frames gave: a run against its single-frame control, or why the two do not compare."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from tests.service.harness.saved_records import save_record

SETTINGS = {"NETWORK": "aligned", "SEED": 0, "SCALE": 3, "DEGRADATION": "bicubic", "MAX_STEPS": 200, "N_FEATS": 32}


def save_run(
    folder: Path,
    psnr_y: float,
    *,
    steps: tuple[int, ...] = (100, 200),
    seconds: float = 0.5,
    data: str = "t",
    **own: Any,
) -> Path:
    """A run whose PSNR-Y ends at `psnr_y`, after half a decibel less."""
    for step in steps:
        value = psnr_y - 0.5 * (step != steps[-1])
        save_record(
            folder, step, psnr_y_ki_db=value, psnr_ki_db=value - 2, ssim_ki=0.8, quality_ki_value=0.6,
            iteration_duration=seconds, training_data=data,
        )  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"settings": {**SETTINGS, **own}, "origins": {}}))
    return folder


def compared(capsys: pytest.CaptureFixture[str], *folders: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The sentences about the frames, and the same for programs."""
    assert exit_code(["stats", "compare", *map(str, folders)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert exit_code(["stats", "compare", "--json", *map(str, folders)]) == 0
    answer = json.loads(capsys.readouterr().out)["frames_gains"]
    return [f"What the frames gave{part}" for part in out.split("What the frames gave")[1:]], answer


def test_the_gain_is_told_per_measure_at_the_last_common_step_with_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = save_run(tmp_path / "frames", 26.5, steps=(100, 200), seconds=0.6, FUSION_LR_FACTOR=2)
    control = save_run(tmp_path / "control", 26.0, steps=(100, 200, 300), NETWORK="single")

    (sentence,), (answer,) = compared(capsys, control, frames)

    assert sentence.startswith(
        "What the frames gave, at step 200 for 1.20 times the processor time: +1.00 dB PSNR-Y (26.50 against 25.50), "
        "+1.00 dB PSNR (24.50 against 23.50), +0.0000 SSIM (0.8000 against 0.8000), +0.0000 quality (0.6000 against "
        "0.6000); frames (aligned) against the single-frame control control."
    )
    assert "One seed says nothing about chance" in sentence
    assert answer["gain"]["gains"]["psnr_y_ki_db"] == pytest.approx(1.0)
    assert (answer["gain"]["axis"], answer["gain"]["at"], answer["obstacle"]) == ("step", 200, None)


def test_runs_that_differ_in_their_seed_alone_count_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [save_run(tmp_path / f"frames-{seed}", 26.4 + seed / 10, SEED=seed) for seed in range(3)]
    folders += [save_run(tmp_path / f"one-{seed}", 26.0, SEED=seed, NETWORK="single", N_FEATS=48) for seed in range(2)]

    (sentence,), (answer,) = compared(capsys, *folders)

    assert "+0.50 dB PSNR-Y (26.50 against 26.00, ±0.06)" in sentence
    assert "these settings differ: N_FEATS 32 and 48." in sentence
    assert "One seed" not in sentence
    assert answer["runs"] == ["frames-0", "frames-1", "frames-2"]


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"data": "other"}, "they were trained on other data"),
        ({"SCALE": 4}, "SCALE is 3 and 4"),
        ({"DEGRADATION": "blur-down"}, "DEGRADATION is bicubic and blur-down"),
        ({"steps": (50, 150)}, "no step has a record of all of them"),
        (
            {"MAX_STEPS": 400, "steps": (200, 400)},
            "MAX_STEPS is 200 and 400, so their learning rates differ at an equal step, and their processor times are "
            "not equal (200 s and 400 s)",
        ),
    ],
)
def test_what_does_not_compare_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], own: dict[str, Any], reason: str
) -> None:
    frames, control = save_run(tmp_path / "a", 26.5), save_run(tmp_path / "b", 26.0, NETWORK="single", **own)

    (sentence,), (answer,) = compared(capsys, frames, control)

    assert sentence.startswith(
        f"What the frames gave cannot be said of a (aligned) against the single-frame control b: {reason}"
    )
    assert answer["gain"] is None
    assert answer["obstacle"].startswith(reason)


def test_runs_of_other_lengths_compare_where_they_used_equal_processor_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = save_run(tmp_path / "a", 26.5)
    control = save_run(tmp_path / "b", 26.1, steps=(200, 400), seconds=0.255, NETWORK="single", MAX_STEPS=400)

    (sentence,), _ = compared(capsys, frames, control)

    assert sentence.startswith("What the frames gave, after 202 s of processor time: +0.40 dB PSNR-Y")


def test_nothing_is_said_of_frames_without_a_control(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(capsys, save_run(tmp_path / "a", 26.5), save_run(tmp_path / "b", 26.0)) == ([], [])

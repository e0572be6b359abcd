"""An evaluation against the formulas in float64, frame by frame; averages, sets, processes, and what cannot be read."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ddp.checkpoint.safetensors import write_safetensors
from ddp.inference.evaluate.__main__ import main
from ddp.inference.evaluate.clips import open_set
from ddp.inference.evaluate.measures import SetScores
from ddp.inference.evaluate.work import Wishes, evaluate
from ddp.vsr.prepare.resize import bicubic
from service.errors import UserError
from tests.ddp.harness.launching import write_pair
from tests.ddp.inference.conftest import trained

Pictures = NDArray[np.uint8]
SCALE, BORDER = 3, 2
CPU = [torch.device("cpu")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 5 and 3 frames of different sizes, which the scale does not divide."""
    root = tmp_path_factory.mktemp("clips")
    for name, count, height, width in (("city", 5, 37, 44), ("walk", 3, 40, 35)):
        (root / name).mkdir()
        for number, frame in enumerate(moving_waves(count, height, width)):
            Image.fromarray(frame).save(root / name / f"{number:03d}.png")
    return root


def moving_waves(count: int, height: int, width: int) -> list[Pictures]:
    y, x = np.mgrid[0:height, 0:width] / 5.0
    waves = [np.stack([np.sin(x + t / 4 + c) + np.cos(y * (1 + c / 3)) for c in range(3)], -1) for t in range(count)]
    return [(127 + 55 * wave).astype(np.uint8) for wave in waves]


def measured(path: Path, workers: int = 1) -> SetScores:
    """With a network of random weights, so that every frame of a window counts."""
    networks = {"ki": trained(scale=SCALE)}
    sets = [open_set("ours", path, 5, SCALE, "bicubic")]
    (found,) = evaluate(sets, networks, CPU, Wishes(border=BORDER, workers=workers), lambda _: None)
    return found


def luma(picture: Pictures) -> NDArray[np.float64]:
    return picture.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16


def expected_scores(output: Pictures, target: Pictures, before: NDArray[np.float64] | None) -> Sequence[float]:
    """PSNR, SSIM, PSNR-Y, SSIM-Y and dtSSD of one frame, by scikit-image and numpy."""
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    output_y, target_y = luma(output), luma(target)
    return (
        peak_signal_noise_ratio(target, output),
        structural_similarity(output, target, channel_axis=2, **wang),
        peak_signal_noise_ratio(target_y, output_y, data_range=255),
        structural_similarity(output_y, target_y, **wang),
        np.nan if before is None else np.sqrt(np.mean((output_y - target_y - before) ** 2)),
    )


def cropped(picture: Pictures) -> Pictures:
    return picture[BORDER:-BORDER, BORDER:-BORDER]


def test_every_frame_has_the_scores_of_the_formulas_and_a_set_is_the_mean_of_its_clips(clips: Path) -> None:
    found = measured(clips)

    network = trained(scale=SCALE).module
    by_clip = []
    for clip in found.clips:
        truth = [np.asarray(Image.open(path)) for path in sorted((clips / clip.name).iterdir())]
        truth = [frame[: len(frame) // 3 * 3, : frame.shape[1] // 3 * 3] for frame in truth]
        small = torch.stack([torch.from_numpy(bicubic(frame, SCALE)).permute(2, 0, 1) for frame in truth]) / 255
        rows, before = [], None
        for number, target in enumerate(truth):
            window = [min(max(number + offset, 0), len(truth) - 1) for offset in range(-2, 3)]
            with torch.no_grad():
                output = network(small[window].unsqueeze(0))[0].clamp(0, 1).permute(1, 2, 0).double() * 255
            shown = cropped(output.round().byte().numpy())
            rows.append(expected_scores(shown, cropped(target), before))
            before = luma(shown) - luma(cropped(target))
            assert [*clip.frames[number]["ki"].values()] == pytest.approx(rows[-1], abs=1e-6, nan_ok=True)
        means = np.nanmean(rows, axis=0)
        assert [*clip.means()["ki"].values()] == pytest.approx(means, abs=1e-6)
        by_clip.append(means)
    assert [(clip.name, len(clip.frames)) for clip in found.clips] == [("city", 5), ("walk", 3)]
    assert [*found.means()["ki"].values()] == pytest.approx(np.mean(by_clip, axis=0), abs=1e-6)
    assert found.means()["bicubic"]["psnr_db"] > found.means()["ki"]["psnr_db"]  # of random weights


def test_parts_and_processes_change_no_score(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(clips)
    monkeypatch.setattr("ddp.inference.evaluate.work.PART_FRAMES", 2)

    assert json.dumps(measured(clips, workers=2).as_json()) == json.dumps(whole.as_json())


def test_pairs_of_a_patch_set_are_measured_without_a_change_over_time(tmp_path: Path) -> None:
    for number in range(2):
        write_pair(tmp_path / "Val", f"val_{number}", 36, 48, seed=number)

    found = measured(tmp_path)

    assert [(clip.name, len(clip.frames)) for clip in found.clips] == [("ours", 2)]
    assert np.isnan(found.means()["ki"]["dtssd_y"])
    assert found.as_json()["means"]["ki"]["dtssd_y"] is None


def test_a_clip_that_is_not_whole_is_left_out_by_name(clips: Path, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(moving_waves(3, 30, 30)):
            Image.fromarray(frame).save(tmp_path / name / f"{number}.png")
    (tmp_path / "bad" / "1.png").write_bytes(b"no picture")

    opened = open_set("ours", tmp_path, 5, SCALE, "bicubic")

    assert [clip.name for clip in opened.clips] == ["good"]
    assert opened.left_out[0].startswith("bad: it is not whole (1.png: ")
    with pytest.raises(UserError, match="holds no clip that can be measured: bad: it is not whole"):
        open_set("ours", tmp_path / "bad", 5, SCALE, "bicubic")


def test_the_command_prints_a_table_of_each_set_and_writes_all_scores(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = trained(scale=SCALE)
    weights, out = tmp_path / "weights.safetensors", tmp_path / "scores.json"
    metadata = {key: str(value) for key, value in network.settings.items()}
    write_safetensors(weights, network.module.state_dict(), metadata)
    options = ["--from", str(weights), "--workers=1", "--set", f"VAL_BORDER={BORDER}"]

    assert main([f"Ours={clips}", str(clips / "walk"), *options, "--out", str(out)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Ours: {clips}"
    assert lines[1].split() == ["clip", "frames", "PSNR", "SSIM", "PSNR-Y", "SSIM-Y", "dtSSD-Y"]
    assert [line.split()[:-5] for line in lines[2:8]] == [
        ["city", "5", "bicubic"], ["ki"], ["walk", "3", "bicubic"], ["ki"],
        ["mean", "of", "the", "clips", "bicubic"], ["ki"],
    ]  # fmt: skip
    found = json.loads(out.read_text())
    assert found["protocol"] == {"scale": 3, "n_frames": 5, "degradation": "bicubic", "border": BORDER}
    assert [(item["name"], item["clip_count"]) for item in found["sets"]] == [("Ours", 2), ("walk", 1)]
    assert found["weights"]["ki"]["sha256"] == network.sha256()
    assert found["sets"][0]["clips"][1]["frames"][0]["ki"]["dtssd_y"] is None

    for sets, sentence in (
        ([], "No set is given"),
        (["a=x", "a=y"], "is named twice"),
        ([str(tmp_path / "none")], "does not exist"),
        ([str(clips), "--set", "VAL_BORDER=30"], "leaves nothing of a"),
    ):
        assert main([*options, *sets]) == 2
        assert sentence in capsys.readouterr().err

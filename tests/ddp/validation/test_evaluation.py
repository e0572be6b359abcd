"""Validation over real ranks: each image counts exactly once, whatever the number of ranks."""

import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.validation.evaluation import validate
from ddp.validation.image_scores import Networks
from ddp.validation.result import COLUMNS, ValidationResult, column_of
from ddp.validation.tiles import ImageForward
from ddp.vsr.workload import build
from service.config.settings import RunConfig
from tests.ddp.harness.launching import Launch, torchrun

PROGRAM = ("-m", "tests.ddp.harness.rank_programs.validate_once")
Report = dict[str, Any]


def validate_with(ranks: int, launch: Launch, tmp_path: Path, dataset: Path) -> Report:
    process = launch(torchrun(ranks, *PROGRAM, str(dataset)), output=f"ranks_{ranks}.txt")
    assert process.wait(timeout=120) == 0, (tmp_path / f"ranks_{ranks}.txt").read_text()
    lines = (tmp_path / f"ranks_{ranks}.txt").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RESULT ")]
    report: Report = json.loads(line.removeprefix("RESULT "))
    return report


def numbers(value: Any) -> list[float]:
    """Every number in a report, in order."""
    if isinstance(value, dict):
        return [number for key in value if key != "validation_duration" for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) and not math.isnan(value) else []


def test_any_number_of_ranks_gives_the_same_numbers_also_with_fewer_images_than_ranks(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    reports = [validate_with(ranks, launch, tmp_path, tiny_dataset) for ranks in (1, 2, 4)]

    assert reports[0]["validation_image_count"] == 3
    assert len(numbers(reports[0])) > 40
    for report in reports[1:]:
        assert numbers(report) == pytest.approx(numbers(reports[0]), abs=1e-6, rel=0)


def validated(dataset: Path, *, with_average: bool = False, is_shutdown_requested: bool = False) -> Any:
    config = RunConfig(dataset_root=dataset, network="recurrent", n_feats=4, n_blocks=2, num_workers=0)
    world = World(RankEnvironment(), torch.device("cpu"))
    workload = build(config)
    model = workload.build_model()
    average = copy.deepcopy(model) if with_average else None
    if average is not None:
        with torch.no_grad():
            for parameter in average.parameters():
                parameter.add_(0.02)
    return validate(
        world,
        workload,
        Networks(model, average, workload.build_loss()),
        preview_count=2,
        on_image=lambda: None,
        before_exchange=lambda: None,
        is_shutdown_requested=lambda: is_shutdown_requested,
    )


def test_averaged_weights_are_scored_beside_the_raw_ones(tiny_dataset: Path) -> None:
    weights = (0.6, 0.2, 0.2, 0.0)
    alone: ValidationResult = validated(tiny_dataset)
    both: ValidationResult = validated(tiny_dataset, with_average=True)

    assert both.report(weights)["psnr_ki_db"] == alone.report(weights)["psnr_ki_db"]
    assert both.report(weights)["psnr_ema_db"] < both.report(weights)["psnr_ki_db"]
    assert both.report(weights)["validation_loss_ema_value"] > both.report(weights)["validation_loss_value"]
    assert 0 <= both.report(weights)["quality_ema_value"] <= 1
    assert math.isnan(alone.report(weights)["quality_ema_value"])  # null in the file


def test_a_rank_that_wishes_to_leave_ends_a_validation_without_a_result(tiny_dataset: Path) -> None:
    assert validated(tiny_dataset, is_shutdown_requested=True) is None


def test_scores_of_the_enlarged_input_equal_an_independent_implementation(tiny_dataset: Path) -> None:
    report = validated(tiny_dataset).report((1.0, 0.0, 0.0, 0.0))

    for image in report["validation_images"]:
        truth = np.asarray(Image.open(tiny_dataset / "Val" / "GT" / image["name"]))
        stack = np.asarray(Image.open(tiny_dataset / "Val" / "LR" / image["name"]))
        centre = torch.from_numpy(stack.reshape(5, -1, *stack.shape[1:])[2].copy()).permute(2, 0, 1)[None].double()
        enlarged = torch.nn.functional.interpolate(centre / 255, scale_factor=3, mode="bilinear")[0] * 255
        picture = enlarged.round().permute(1, 2, 0).numpy().astype(np.uint8)
        ssim = structural_similarity(
            truth, picture, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        psnr = peak_signal_noise_ratio(truth, picture)
        assert image["psnr_lr_db"] == pytest.approx(psnr, abs=0.02)  # float32 enlargement may round a pixel otherwise
        assert image["quality_lr"] == pytest.approx(
            0.7 * min(1.0, (image["psnr_lr_db"] - 20) / 30) + 0.3 * image["ssim_lr"], abs=1e-9
        )
        assert image["ssim_lr"] == pytest.approx(ssim, abs=1e-3)


def test_means_are_over_images_and_keep_their_signs(tiny_dataset: Path) -> None:
    report = validated(tiny_dataset).report((1.0, 0.0, 0.0, 0.0))
    images = report["validation_images"]

    assert report["quality_ki_value"] == pytest.approx(sum(image["quality_ki"] for image in images) / 3)
    assert report["quality_ki_to_gt_value"] == pytest.approx(1 - report["quality_ki_value"])
    assert report["quality_improvement_value"] == pytest.approx(report["quality_ki_value"] - report["quality_lr_value"])


def test_an_untrained_network_starts_exactly_at_the_enlarged_input(tiny_dataset: Path) -> None:
    report = validated(tiny_dataset).report((1.0, 0.0, 0.0, 0.0))

    assert report["quality_improvement_value"] == 0.0


def test_a_corrupt_image_is_named_and_left_out_of_the_means(tiny_dataset: Path, tmp_path: Path) -> None:
    hurt = tmp_path / "hurt"
    for side in ("Patches/GT", "Patches/LR", "Val/GT", "Val/LR"):
        (hurt / side).mkdir(parents=True)
        for path in (tiny_dataset / side).iterdir():
            content = path.read_bytes()
            is_victim = side == "Val/GT" and path.name == "val_1.png"
            (hurt / side / path.name).write_bytes(content[: len(content) // 2] if is_victim else content)

    result = validated(hurt)

    assert list(result.unreadable) == ["val_1.png"]
    assert "GT/val_1.png: " in result.unreadable["val_1.png"]
    assert "truncated" in result.unreadable["val_1.png"]
    assert [image["name"] for image in result.report((1.0, 0, 0, 0))["validation_images"]] == ["val_0.png", "val_2.png"]
    assert result.report((1.0, 0, 0, 0))["validation_image_count"] == 2


def test_previews_show_lr_ki_and_gt_side_by_side(tiny_dataset: Path) -> None:
    result = validated(tiny_dataset)

    assert [(name, tuple(picture.shape)) for name, picture in result.previews] == [
        ("val_0.png", (3, 36, 3 * 48)),
        ("val_1.png", (3, 48, 3 * 36)),
    ]


def test_validation_leaves_the_random_generators_and_the_modes_alone(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the data of a workload draw random numbers."""
    config = RunConfig(dataset_root=tiny_dataset, network="recurrent", n_feats=4, n_blocks=2, num_workers=0)
    workload = build(config)
    read = workload.validation_images.read

    def drawing(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.rand(3), random.random(), np.random.rand()
        return read(index)

    monkeypatch.setattr(workload.validation_images, "read", drawing)
    networks = Networks(workload.build_model().train(), None, workload.build_loss())
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    validate(
        World(RankEnvironment(), torch.device("cpu")), workload, networks,
        preview_count=0, on_image=lambda: None, before_exchange=lambda: None, is_shutdown_requested=lambda: False,
    )  # fmt: skip

    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert networks.model.training


def test_a_rank_that_wishes_to_leave_does_not_finish_a_large_image(tiny_dataset: Path) -> None:
    """A signal is noticed between the tiles of an image, which may take minutes all in all."""
    workload = build(RunConfig(dataset_root=tiny_dataset, network="recurrent", n_feats=4, n_blocks=2, num_workers=0))
    parts = list[None]()
    result = validate(
        World(RankEnvironment(), torch.device("cpu")),
        workload,
        Networks(workload.build_model(), None, workload.build_loss(), ImageForward(tile=4, reach=7)),
        preview_count=0,
        on_image=lambda: parts.append(None),
        before_exchange=lambda: None,
        is_shutdown_requested=lambda: len(parts) >= 5,
    )

    assert result is None
    assert len(parts) == 5


def test_each_validation_set_has_means_of_its_own_images_that_were_seen() -> None:
    table = torch.zeros(4, COLUMNS, dtype=torch.float64)
    table[:3, 0] = 1
    table[:, column_of("ki", "psnr_y_db")] = torch.tensor([30.0, 20.0, 24.0, 0.0])
    table[:, column_of("ema", "ssim_y")] = math.nan
    result = ValidationResult(
        names=("city__1", "walk__1", "walk__2", "walk__3"), table=table, layer_names=(), layer_means=torch.zeros(0),
        duration_seconds=1.0, began_at=(0.0,), peak_gib=0.0, previews=(), unreadable={"walk__3": "cut off"},
        sets=("city", "walk", "walk", "walk"),
    )  # fmt: skip

    report = result.report((1.0, 0.0, 0.0, 0.0))

    found = [(item["name"], item["image_count"], item["psnr_y_ki_db"]) for item in report["validation_sets"]]
    assert found == [("city", 1, 30.0), ("walk", 2, 22.0)]
    assert math.isnan(report["validation_sets"][0]["ssim_y_ema"])
    assert report["psnr_y_ki_db"] == pytest.approx(74 / 3)

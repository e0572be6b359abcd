"""The default workload as the trainer sees it."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddp.adaptive.controller import Controller
from ddp.vsr import workload
from ddp.workload import Share, UnreadableImageError, data_identity, load_workload
from service.config.settings import RunConfig
from service.errors import SettingError


@pytest.fixture
def config(tiny_dataset: Path) -> RunConfig:
    return RunConfig(dataset_root=tiny_dataset, n_feats=4, n_blocks=2, num_workers=0, batch_size=2, patch_size=8)


def test_the_default_workload_feeds_the_network_what_it_expects(config: RunConfig) -> None:
    built = load_workload(config)
    batch = next(built.batches(Share(rank=0, world_size=1, samples_seen=0)))

    output = built.build_model()(batch.lr.float() / 255)

    assert (tuple(batch.lr.shape), tuple(batch.gt.shape)) == ((2, 5, 3, 8, 8), (2, 3, 24, 24))
    assert output.shape == batch.gt.shape
    assert built.build_loss()(output, batch.gt.float() / 255).shape == (4,)


def test_a_resume_begins_with_the_sample_that_would_have_been_next(config: RunConfig) -> None:
    built = load_workload(config)
    straight = list(islice(built.batches(Share(rank=0, world_size=1, samples_seen=0)), 6))

    (resumed,) = islice(built.batches(Share(rank=0, world_size=1, samples_seen=10)), 1)

    assert torch.equal(resumed.lr, straight[5].lr)


def test_without_any_backbone_the_perceptual_term_is_off_weighs_nothing_and_is_said_once(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "build_perceptual", lambda _file: None)
    wanted = replace(config, perceptual_weight=0.1)

    built = workload.build(wanted)
    terms = built.build_loss()(torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24))

    assert terms[3] == 0
    assert Controller.of(wanted, has_perceptual=built.has_perceptual).weights[3] == 0
    (notice,) = built.notices
    assert "no backbone is installed" in notice


def test_with_the_packaged_backbone_the_term_is_on_and_named(config: RunConfig) -> None:
    built = workload.build(replace(config, perceptual_weight=0.1))

    assert built.has_perceptual
    assert "EfficientNet-Lite0" in built.notices[0]
    assert built.build_loss()(torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24))[3] > 0


def test_a_validation_image_that_breaks_after_the_start_is_unreadable_not_fatal(
    config: RunConfig, tmp_path: Path, tiny_dataset: Path
) -> None:
    for side in ("Patches/GT", "Patches/LR", "Val/GT", "Val/LR"):
        (tmp_path / side).mkdir(parents=True)
        for path in (tiny_dataset / side).iterdir():
            Image.open(path).save(tmp_path / side / path.name)
    images = workload.build(replace(config, dataset_root=tmp_path)).validation_images
    (tmp_path / "Val" / "GT" / "val_0.png").write_bytes(b"rubbish")

    with pytest.raises(UnreadableImageError, match=r"val_0\.png"):
        images.read(0)


def test_a_module_that_is_no_workload_is_named(config: RunConfig) -> None:
    with pytest.raises(SettingError, match=r"WORKLOAD 'json' has no function `build\(config\)`"):
        load_workload(replace(config, workload="json"))


def test_a_border_is_left_out_of_scores_marks_the_validation_and_must_leave_something(config: RunConfig) -> None:
    plain, cropping = load_workload(config), load_workload(replace(config, val_border=4))
    target = torch.rand(1, 3, 24, 24)
    output = target.clone()
    output[..., :4, :] = 0

    assert plain.score(output, target)["ssim_y"] < cropping.score(output, target)["ssim_y"] == 1
    assert data_identity(plain).validation != data_identity(cropping).validation
    assert data_identity(plain).training == data_identity(cropping).training
    with pytest.raises(
        SettingError, match="VAL_BORDER is 18, which leaves nothing of a validation image with a side of 36"
    ):
        load_workload(replace(config, val_border=18))

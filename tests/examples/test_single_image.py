"""The example in examples/: the commands of its page train it, and its page says what each member is for."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ddp.workload import Batch, Share, Workload, load_workload
from examples.single_image import SingleImageNetwork
from service.cli import leitstand
from service.config.settings import RunConfig
from service.errors import DatasetError, SettingError
from service.run.record import KEYS
from service.run.record_schema import record_schema
from tests.ddp.harness.launching import write_pair

SMALL = {"N_FEATS": 8, "N_BLOCKS": 2, "PATCH_SIZE": 8, "VAL_STEP_EVERY": 30}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures for training and three for validation, of several sizes, and no LR at all."""
    root = tmp_path_factory.mktemp("pictures")
    for index in range(7):
        write_pair(root / "Patches", f"train_{index}", 36, 36 + 3 * index, seed=index)
    for index, (height, width) in enumerate([(36, 48), (48, 36), (60, 60)]):
        write_pair(root / "Val", f"val_{index}", height, width, seed=100 + index)
    for half in ("Patches", "Val"):
        shutil.rmtree(root / half / "LR")
    return root


@pytest.fixture
def config(pictures: Path) -> RunConfig:
    return RunConfig(
        workload="examples.single_image", dataset_root=pictures, n_feats=8, n_blocks=2, patch_size=8, batch_size=2
    )


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "examples" / "README.md").read_text()


def commands(page: str) -> list[list[str]]:
    """Every command line of a page, in order."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", "").splitlines()]


def command(page: str, *beginning: str) -> list[str]:
    """The only command of a page that begins like this."""
    (found,) = (words for words in commands(page) if tuple(words[: len(beginning)]) == beginning)
    return found


def run(words: list[str], repository: Path, **values: object) -> str:
    """Run a command of the page as from a shell with the environment active, with more settings; returns its output."""
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        [*words, *settings],
        cwd=repository,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=140,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def record(root: Path, step: int) -> dict[str, Any]:
    """A record that is whole."""
    content: dict[str, Any] = json.loads((root / f"Statistik_{step}.json").read_text(), parse_constant=pytest.fail)
    jsonschema.validate(content, record_schema())
    assert list(content) == list(KEYS)
    return content


def test_the_commands_of_the_page_train_it_on_two_ranks_and_resume_it_on_one(
    page: str, repository: Path, pictures: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    places = {"DATASET_ROOT": pictures, "DATA_ROOT": root, "DEVICE": "cpu", **SMALL}

    output = run([*command(page, "leitstand", "train"), "--ranks=2"], repository, MAX_STEPS=60, **places)

    assert "2 ranks on cpu, 7 training samples, 3 validation images" in output
    early, late = record(root, 30), record(root, 60)
    assert (late["world_size"], late["samples_seen"], late["trigger"]) == (2, 60 * 2 * 4, "final")
    assert late["total_loss_value"] < early["total_loss_value"]
    assert late["quality_ki_value"] > late["quality_lr_value"] + 0.01
    assert late["psnr_ki_db"] > late["psnr_lr_db"] + 0.5
    assert list(late["layer_activity_map"]) == ["Head", "Block_01", "Block_02", "Tail"]
    assert (late["perceptual_loss_value"], late["perceptual_weight_current"]) == (0, 0)
    assert [image["name"] for image in late["validation_images"]] == ["val_0.png", "val_1.png", "val_2.png"]

    run(command(page, "torchrun", "--nproc-per-node=1"), repository, MAX_STEPS=90, **places)

    last = record(root, 90)
    assert (last["world_size"], last["samples_seen"]) == (1, 60 * 2 * 4 + 30 * 4)
    assert last["run_id"] == late["run_id"]
    assert last["psnr_ki_db"] > last["psnr_lr_db"] + 0.5


def test_every_command_of_the_page_exists_and_names_the_same_run(page: str) -> None:
    words = commands(page)

    assert [line[:2] for line in words] == [
        ["make", "run"],
        ["leitstand", "prepare"],
        ["leitstand", "train"],
        ["leitstand", "serve"],
        ["torchrun", "--nproc-per-node=1"],
    ]
    assert {line[1] for line in words if line[0] == "leitstand"} <= set(leitstand.commands)
    assert {part for line in words for part in line if "DATA_ROOT=" in part} == {"DATA_ROOT=runs/single_image"}
    assert {part for line in words for part in line if "WORKLOAD=" in part} == {"WORKLOAD=examples.single_image"}


def test_the_page_says_what_every_member_of_a_workload_is_for(page: str) -> None:
    members = [*Workload.__annotations__, *(name for name in vars(Workload) if name.islower() and name[0] != "_")]
    rows = re.findall(r"^\| `(\w+)` \| \S", page, re.MULTILINE)

    assert len(rows) == 12
    assert sorted(rows) == sorted(members)


def test_lr_of_a_batch_is_made_of_its_gt_at_the_same_place(config: RunConfig) -> None:
    batch = next(load_workload(config).batches(Share(rank=0, world_size=1, samples_seen=0)))

    assert (tuple(batch.lr.shape), tuple(batch.gt.shape)) == ((2, 1, 3, 8, 8), (2, 3, 24, 24))
    assert batch.lr.dtype is batch.gt.dtype is torch.uint8
    assert torch.equal(batch.lr[:, 0], F.avg_pool2d(batch.gt.float(), 3).round().byte())
    assert not torch.equal(batch.gt[0], batch.gt[1])


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_any_number_of_ranks_goes_on_in_the_one_stream_from_any_position(config: RunConfig, ranks: int) -> None:
    workload = load_workload(config)
    whole = targets(workload.batches(Share(rank=0, world_size=1, samples_seen=0)), 10)
    shared = [workload.batches(Share(rank=rank, world_size=ranks, samples_seen=8)) for rank in range(ranks)]

    in_turn = (next(stream) for _ in range(10) for stream in shared)

    assert torch.equal(targets(in_turn, 6), whole[8:20])


def targets(batches: Iterator[Batch], count: int) -> torch.Tensor:
    return torch.cat([batch.gt for batch in islice(batches, count)])


def test_the_untrained_network_gives_the_enlarged_picture(config: RunConfig) -> None:
    workload = load_workload(config)
    model = workload.build_model()
    lr = torch.rand(2, 1, 3, 8, 10, generator=torch.Generator().manual_seed(0))

    assert isinstance(model, SingleImageNetwork)
    assert torch.equal(model(lr), workload.enlarge(lr))
    assert {id(item) for group in workload.parameter_groups(model) for item in group["params"]} == {
        id(item) for item in model.parameters()
    }


def test_pictures_that_cannot_be_used_are_left_out_with_their_reasons(config: RunConfig, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    shutil.copytree(config.dataset_root, root)
    Image.new("RGB", (90, 21)).save(root / "Patches" / "GT" / "flat.png")
    (root / "Val" / "GT" / "broken.png").write_bytes(b"no picture")

    workload = load_workload(RunConfig(workload="examples.single_image", dataset_root=root, patch_size=8))

    small, broken = workload.left_out
    assert small == "flat.png: its LR has 30x7 pixels, but 8x8 are needed"
    assert broken.startswith("broken.png: ")
    assert (workload.sample_count, len(workload.validation_images.names)) == (7, 3)


def test_settings_or_folders_that_cannot_be_are_one_sentence(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="PATCH_SIZE is 0"):
        load_workload(RunConfig(workload="examples.single_image", dataset_root=config.dataset_root))
    with pytest.raises(DatasetError, match=r"Patches/GT has no usable PNG file \(0 left out\): check DATASET_ROOT"):
        load_workload(RunConfig(workload="examples.single_image", dataset_root=tmp_path, patch_size=8))

"""Where NETWORK is not set, the weights that are there say which network a start trains."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.format import STATE_FILE, Reason
from ddp.checkpoint.network_shape import shape_of
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.training.recovery.network_kept import with_network_of_weights
from ddp.vsr.networks.choice import build
from service.config.loader import LoadedConfig, load_config
from service.config.settings import RunConfig

WORLD = World(RankEnvironment(), torch.device("cpu"))
EARLIER = {"workload": "ddp.vsr.workload", "n_feats": 128, "n_blocks": 32, "n_frames": 5, "scale": 3}


def saved(root: Path, step: int, shape: dict[str, Any]) -> Path:
    state = {"shape": shape, "weight": torch.zeros(1)}
    return CheckpointFolder(root / "checkpoints").save(step, state, reason=Reason.SCHEDULE, is_best=False).folder


def kept(root: Path, *settings: str, source: str = "", continues_run: bool = True) -> LoadedConfig:
    loaded = load_config(None, [f"DATA_ROOT={root}", *settings], {})
    return with_network_of_weights(WORLD, loaded, source, continues_run=continues_run)


@pytest.mark.parametrize("shape", [EARLIER, shape_of(RunConfig(network="recurrent"))], ids=["earlier", "named"])
def test_a_run_goes_on_with_the_network_of_its_checkpoint(tmp_path: Path, shape: dict[str, Any]) -> None:
    saved(tmp_path, 5, shape)

    loaded = kept(tmp_path)

    assert (loaded.config.network, loaded.origins["NETWORK"]) == ("recurrent", "checkpoint")
    assert kept(tmp_path, continues_run=False).config.network == RunConfig().network


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    saved(tmp_path, 5, EARLIER)
    (saved(tmp_path, 6, EARLIER) / STATE_FILE).write_bytes(b"broken")

    assert kept(tmp_path).config.network == "recurrent"


def test_a_network_that_is_given_stays_and_so_does_the_default_without_any_weights(tmp_path: Path) -> None:
    assert kept(tmp_path / "none").origins.keys() == {"DATA_ROOT"}
    saved(tmp_path, 5, EARLIER)

    assert kept(tmp_path, "NETWORK=single").config.network == "single"
    assert kept(tmp_path, "WORKLOAD=examples.single_image").config.network == RunConfig().network


def test_a_new_run_trains_the_network_of_the_weights_it_begins_with(tmp_path: Path) -> None:
    weights = build(RunConfig(network="single", n_feats=4, n_blocks=2)).module.state_dict()
    torch.save(weights, tmp_path / "single.pt")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")

    begun = kept(tmp_path / "run", source=str(tmp_path / "single.pt"), continues_run=False)

    assert (begun.config.network, begun.origins["NETWORK"]) == ("single", "INIT_FROM")
    assert kept(tmp_path / "run", source=str(tmp_path / "other.pt")).config.network == RunConfig().network
    assert kept(tmp_path / "run", source=str(tmp_path / "missing.pt")).config.network == RunConfig().network

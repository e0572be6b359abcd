"""Networks under real ranks: recorded, resumed, refused, taken as a beginning, and kept where NETWORK is not set."""

import json
import re
from collections.abc import Callable

import torch

from ddp.inference.network import open_network
from service.config.settings import RunConfig
from tests.ddp.harness.training import Training

Train = Callable[..., Training]
ALIGNED = {"NETWORK": "aligned", "PRECISION": "bfloat16", "CHANNELS_LAST": "true", "EMA_DECAY": 0.5, "MAX_STEPS": 6}


def test_a_run_keeps_the_network_it_began_with_and_another_run_begins_with_its_weights(train: Train) -> None:
    run = train(2, VAL_STEP_EVERY=3, **ALIGNED)
    assert run.end() == 0, run.output
    record = run.record(3)
    assert list(record["layer_activity_map"]) == ["Join", "Block_01", "Block_02", "Enlarge"]
    assert record["quality_ema_value"] > 0

    refused = train(2, "--resume", output="refused.txt", VAL_STEP_EVERY=3, **{**ALIGNED, "NETWORK": "recurrent"})
    assert refused.end() != 0
    assert "belongs to another network (network aligned → recurrent); give the settings" in refused.output

    resumed = train(2, "--resume", output="resumed.txt", VAL_STEP_EVERY=3, **{**ALIGNED, "MAX_STEPS": 8})
    assert resumed.end() == 0, resumed.output
    assert "Resuming at step 6" in resumed.output

    fork = train(1, root="fork", output="fork.txt", INIT_FROM=run.root, **{**ALIGNED, "MAX_STEPS": 1})
    assert fork.end() == 0, fork.output
    assert "12 of the network's 12 tensors match" in fork.output
    network = open_network(RunConfig(), run.root, None)
    assert network.settings["network"] == "aligned"
    assert network.module(torch.rand(1, 5, 3, 9, 7)).shape == (1, 3, 27, 21)


def test_without_the_setting_a_run_and_whoever_begins_with_its_weights_go_on_with_its_network(train: Train) -> None:
    run = train(2, NETWORK="recurrent", MAX_STEPS=3)
    assert run.end() == 0, run.output
    assert "NETWORK is not set" not in run.output

    resumed = train(2, "--resume", output="resumed.txt", NETWORK=None, MAX_STEPS=5)
    assert resumed.end() == 0, resumed.output
    assert "Resuming at step 3" in resumed.output
    sentence = "NETWORK is not set: the run trains 'recurrent', the network of its checkpoint."
    assert resumed.output.count(sentence) == (run.root / "training.log").read_text().count(sentence) == 1
    config = json.loads((run.root / "config.json").read_text())
    assert (config["settings"]["NETWORK"], config["origins"]["NETWORK"]) == ("recurrent", "checkpoint")
    assert "Final_Fusion" in resumed.record(5)["layer_activity_map"]

    child = train(1, root="child", output="child.txt", INIT_FROM=run.root, NETWORK=None, MAX_STEPS=1)
    assert child.end() == 0, child.output
    assert f"NETWORK is not set: the run trains 'recurrent', the network of INIT_FROM {run.root}." in child.output
    assert re.search(r": (\d+) of the network.s \1 tensors match", child.output)


def test_the_default_network_fills_the_layers_of_the_record(train: Train) -> None:
    run = train(1, NETWORK=None, MAX_STEPS=1)
    assert run.end() == 0, run.output
    assert list(run.record(1)["layer_activity_map"]) == ["Join", "Block_01", "Block_02", "Enlarge"]

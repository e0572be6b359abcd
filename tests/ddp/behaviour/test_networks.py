"""A network other than the default one under real ranks: recorded, resumed, refused, and taken as a beginning."""

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

"""Which network a checkpoint is for: what is compared when a run goes on."""

from dataclasses import replace

from ddp.checkpoint.network_shape import complete, differences, shape_of
from service.config.settings import RunConfig

SIZES = {"workload": "ddp.vsr.workload", "n_feats": 128, "n_blocks": 32, "n_frames": 5, "scale": 3}


def test_a_checkpoint_of_before_there_was_a_choice_is_of_the_recurrent_network() -> None:
    assert differences(SIZES, shape_of(RunConfig(network="recurrent"))) == []
    assert differences(SIZES, shape_of(RunConfig(network="aligned"))) == ["network recurrent → aligned"]
    assert complete({**SIZES, "workload": "examples.single_image"}) == {**SIZES, "workload": "examples.single_image"}


def test_another_network_is_named_in_both_directions() -> None:
    aligned, recurrent = shape_of(RunConfig(network="aligned")), shape_of(RunConfig(network="recurrent"))

    assert differences(aligned, recurrent) == ["network aligned → recurrent"]
    assert differences(recurrent, aligned) == ["network recurrent → aligned"]
    assert differences(aligned, shape_of(RunConfig(network="aligned", n_feats=8))) == ["n_feats 128 → 8"]


def test_only_a_network_that_knows_the_degradation_is_bound_to_it() -> None:
    aligned = shape_of(RunConfig(network="aligned"))

    assert differences(aligned, shape_of(RunConfig(network="aligned", degradation="blur-down"))) == [
        "degradation bicubic → blur-down"
    ]
    recurrent = RunConfig(network="recurrent")
    assert differences(shape_of(recurrent), shape_of(replace(recurrent, degradation="blur-down"))) == []


def test_a_workload_of_ones_own_has_no_network_to_choose() -> None:
    own = {**SIZES, "workload": "examples.single_image"}

    assert shape_of(RunConfig(workload="examples.single_image", network="aligned")) == own

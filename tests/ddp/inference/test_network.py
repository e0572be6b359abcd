"""A trained network, opened from a run, a checkpoint or a file."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.format import Reason
from ddp.checkpoint.network_shape import shape_of
from ddp.checkpoint.safetensors import write_safetensors
from ddp.inference.network import open_network, open_networks
from ddp.vsr.networks.recurrent import VSR
from ddp.workload import load_network
from service.config.settings import RunConfig
from service.errors import SettingError, UserError

SIZES = {"n_feats": 4, "n_blocks": 2, "n_frames": 5, "scale": 2}
SHAPE = {"workload": "ddp.vsr.workload", "network": "recurrent", **SIZES}
CONFIG = RunConfig()


def weights(value: float) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in VSR(**SIZES).state_dict().items()}


def save(run: Path, step: int, *, best: bool = False, average: float | None = None, **scores: float) -> Path:
    stepper = {"model": weights(step / 1000), "average": None if average is None else weights(average)}
    state: dict[str, Any] = {"stepper": stepper, "shape": SHAPE, "composer": {"validation": scores}}
    return CheckpointFolder(run / "checkpoints").save(step, state, reason=Reason.SCHEDULE, is_best=best).folder


def value_of(run: Path, file: Path | None = None) -> float:
    network = open_network(CONFIG, run, file)
    assert (network.n_frames, network.scale) == (5, 2)
    return float(next(network.module.parameters()).detach().flatten()[0])


def test_of_a_run_the_best_state_is_used_and_the_newest_if_none_was_the_best(tmp_path: Path) -> None:
    save(tmp_path, 100)
    save(tmp_path, 200)
    assert value_of(tmp_path) == pytest.approx(0.2)
    save(tmp_path, 300, best=True)
    save(tmp_path, 400)
    assert value_of(tmp_path) == pytest.approx(0.3)


def test_a_damaged_best_state_gives_way_to_another_one(tmp_path: Path) -> None:
    save(tmp_path, 100, best=True)
    folder = save(tmp_path, 200, best=True)
    (folder / "state.pt").write_bytes(b"damaged")
    assert value_of(tmp_path) == pytest.approx(0.1)


def test_averaged_weights_are_used_where_the_validation_found_them_better(tmp_path: Path) -> None:
    save(tmp_path / "a", 100, average=0.5, quality_ki_value=0.8, quality_ema_value=0.9)
    save(tmp_path / "b", 100, average=0.5, quality_ki_value=0.9, quality_ema_value=0.8)
    save(tmp_path / "c", 100, average=0.5, quality_ki_value=0.9, quality_ema_value=float("nan"))
    assert value_of(tmp_path / "a") == pytest.approx(0.5)
    assert value_of(tmp_path / "b") == value_of(tmp_path / "c") == pytest.approx(0.1)


def test_averaged_weights_can_be_had_beside_the_networks_own_whichever_is_better(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", 100, average=0.5, quality_ki_value=0.8, quality_ema_value=0.9)
    save(tmp_path / "b", 100)

    for networks in (open_networks(CONFIG, tmp_path / "a", None), open_networks(CONFIG, tmp_path, folder)):
        values = {name: float(next(network.module.parameters()).flatten()[0]) for name, network in networks.items()}
        assert values == pytest.approx({"ki": 0.1, "ema": 0.5})
        origins = [network.origin for network in networks.values()]
        assert origins == ["step_0000100", "step_0000100, averaged weights"]
    assert list(open_networks(CONFIG, tmp_path / "b", None)) == ["ki"]


def test_a_running_trainers_files_are_left_alone(tmp_path: Path) -> None:
    save(tmp_path, 100)
    being_written = tmp_path / "checkpoints" / ".tmp-step_0000200.1"
    being_written.mkdir()
    value_of(tmp_path)
    assert being_written.is_dir()


def test_a_checkpoints_folder_or_its_state_can_be_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 100)
    save(tmp_path, 200)
    for path in (folder, folder / "state.pt"):
        assert value_of(tmp_path / "none", path) == pytest.approx(0.1)


def test_a_file_of_weights_alone_says_the_sizes_of_its_network_but_for_the_frames(tmp_path: Path) -> None:
    torch.save(weights(0.3), tmp_path / "weights.pth")
    network = open_network(RunConfig(n_frames=7), tmp_path, tmp_path / "weights.pth")
    assert network.settings == {**SHAPE, "n_frames": 7}


def test_what_was_saved_before_there_was_a_choice_is_of_the_recurrent_network(tmp_path: Path) -> None:
    earlier = {key: str(value) for key, value in SHAPE.items() if key != "network"}
    write_safetensors(tmp_path / "a.safetensors", weights(0.4), earlier)
    network = open_network(RunConfig(network="aligned"), tmp_path, tmp_path / "a.safetensors")
    assert network.settings == SHAPE


@pytest.mark.parametrize("name", ["single", "aligned"])
def test_a_network_and_the_degradation_that_it_knows_come_from_its_file(tmp_path: Path, name: str) -> None:
    config = RunConfig(network=name, degradation="blur-down", n_feats=4, n_blocks=2, scale=2)
    module = load_network(config).module
    write_safetensors(tmp_path / "a.safetensors", module.state_dict(), {k: str(v) for k, v in shape_of(config).items()})
    torch.save(module.state_dict(), tmp_path / "weights.pth")

    opened = open_network(CONFIG, tmp_path, tmp_path / "a.safetensors")
    plain = open_network(RunConfig(degradation="blur-down"), tmp_path, tmp_path / "weights.pth")

    assert opened.settings == plain.settings == {**SIZES, **shape_of(config)}
    lr = torch.rand(1, 5, 3, 9, 8)
    assert torch.equal(opened.module(lr), module(lr))


def test_an_exported_file_says_all_of_its_network(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", weights(0.4), {key: str(value) for key, value in SHAPE.items()})
    assert value_of(tmp_path, tmp_path / "a.safetensors") == pytest.approx(0.4)


def test_a_file_that_names_code_to_import_is_not_obeyed(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", weights(0.4), {"workload": "somewhere.else"})
    with pytest.raises(UserError, match=r"is of the WORKLOAD 'somewhere\.else', not 'ddp\.vsr\.workload'"):
        open_network(CONFIG, tmp_path, tmp_path / "a.safetensors")


def test_weights_that_do_not_fit_or_are_no_numbers_are_refused_in_one_sentence(tmp_path: Path) -> None:
    own = weights(0.1)
    broken = {**own, "fusion.bias": torch.tensor([1.0, float("nan"), 0.0, 0.0])}
    missing = {name: tensor for name, tensor in own.items() if name != "fusion.bias"}
    metadata = {key: str(value) for key, value in SHAPE.items()}
    refused = {
        "missing: fusion.bias": (missing, metadata),
        "unexpected: other": ({**own, "other": torch.zeros(1)}, metadata),
        "of another shape: .* more": (own, {**metadata, "n_feats": "8"}),
        "no numbers .fusion.bias.": (broken, metadata),
        "N_BLOCKS is 0": (own, {**metadata, "n_blocks": "0"}),
        "cannot be used: what it says": (own, {**metadata, "n_blocks": "two"}),
    }
    for reason, (tensors, texts) in refused.items():
        write_safetensors(tmp_path / "a.safetensors", tensors, texts)
        with pytest.raises(UserError, match=reason):
            open_network(CONFIG, tmp_path, tmp_path / "a.safetensors")


def test_what_holds_no_weights_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "cut.safetensors").write_bytes((999).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        open_network(CONFIG, tmp_path, None)
    with pytest.raises(UserError, match="holds no checkpoints: name a run directory"):
        open_network(CONFIG, tmp_path / "none", None)
    for name in ("text.pth", "cut.safetensors", "missing.pth"):
        with pytest.raises(UserError, match=f"the weights .*{name} cannot be"):
            open_network(CONFIG, tmp_path, tmp_path / name)


def test_a_workload_without_a_network_of_its_own_says_what_is_missing() -> None:
    with pytest.raises(SettingError, match="has no function `build_network"):
        load_network(RunConfig(workload="service.errors"))

"""INIT_FROM: what it reads, what it says of weights that do not match, and what it refuses. Nothing is executed."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddp.checkpoint.folder import CheckpointFolder, Reason
from ddp.checkpoint.initial_weights import read_initial_weights
from service.errors import SettingError
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


@pytest.fixture
def state() -> dict[str, Tensor]:
    """The weights of a network whose first layer was trained to ones."""
    state = network().state_dict()
    return {**state, "0.weight": torch.ones_like(state["0.weight"])}


def is_read(source: Path, expected: Mapping[str, Tensor]) -> None:
    found = read_initial_weights(str(source), network().state_dict())
    assert set(found.tensors) == set(expected)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.items())
    assert found.sentence == f"INIT_FROM {source}: 4 of the network's 4 tensors match."


@pytest.mark.parametrize("key", [None, "state_dict", "model", "params_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_a_file_of_weights_is_read_as_other_trainers_save_it(
    tmp_path: Path, state: dict[str, Tensor], key: str | None, prefix: str
) -> None:
    path, named = tmp_path / "weights.pt", {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save(named if key is None else {key: named, "epoch": 7}, path)

    is_read(path, state)
    assert read_initial_weights(str(path), network().state_dict()).parent_run is None


def save_run(root: Path, state: dict[str, Tensor]) -> RunDirectory:
    directory = RunDirectory(root)
    root.mkdir()
    directory.write_identity(RunIdentity("aaaa"))
    folder = CheckpointFolder(directory.checkpoints)
    older = {name: tensor * 0 for name, tensor in state.items()}
    for step, weights in ((10, older), (20, state)):
        saved: dict[str, Any] = {"stepper": {"model": weights, "moments": {}}, "progress": {"step": step}}
        folder.save(step, saved, reason=Reason.SCHEDULE, is_best=step == 10)
    return directory


@pytest.mark.parametrize("place", ["", "checkpoints/step_0000020", "checkpoints/latest", "checkpoints/latest/state.pt"])
def test_a_checkpoint_or_the_newest_of_a_run_is_read_and_its_run_is_named(
    tmp_path: Path, state: dict[str, Tensor], place: str
) -> None:
    directory = save_run(tmp_path / "run", state)
    (directory.checkpoints / ".tmp-step_0000030.1").mkdir()  # the parent's trainer is at work

    is_read(directory.root / place, state)
    found = read_initial_weights(str(directory.root / place), network().state_dict())
    assert (found.parent_run, found.parent_step) == ("aaaa", 20)
    assert (directory.checkpoints / ".tmp-step_0000030.1").exists()


def test_what_does_not_match_is_named_in_one_line(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pt"
    others = {"other": torch.zeros(1), "0.weight": torch.zeros(5, 2), "0.bias": torch.zeros(())}
    torch.save({**others, "1.bias": state["1.bias"]}, path)

    found = read_initial_weights(str(path), network().state_dict())

    assert list(found.tensors) == ["1.bias"]
    assert found.sentence == (
        f"INIT_FROM {path}: 1 of the network's 4 tensors match; missing: 1.weight; unexpected: other; "
        "of another shape: 0.bias a number, here 3, 0.weight 5×2, here 3×2."
    )


def test_long_lists_of_names_are_cut(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pt"
    torch.save({**state, **{f"x{number}": torch.zeros(1) for number in range(9)}}, path)

    sentence = read_initial_weights(str(path), network().state_dict()).sentence

    assert sentence.endswith("unexpected: x0, x1, x2, x3, x4 and 4 more.")


def test_weights_of_which_none_matches_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1)}, path)

    with pytest.raises(SettingError, match=r"0 of the network's 4 tensors match; .*give the settings of the network"):
        read_initial_weights(str(path), network().state_dict())


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no weights", "it is no file of weights"),
        (pickle.dumps({"a": Bomb()}), "it is no file of weights"),
        ({"epoch": 7}, "it holds no tensors by name"),
        ([torch.zeros(1)], "it holds no tensors by name"),
        ({"stepper": {}}, "it holds no tensors by name"),
    ],
)
def test_a_file_without_weights_is_refused_and_nothing_in_it_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)

    with pytest.raises(SettingError, match=f"INIT_FROM {path} cannot be used: {reason}"):
        read_initial_weights(str(path), network().state_dict())
    assert not (tmp_path / "exploded").exists()


@pytest.mark.timeout(30)
def test_an_empty_file_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    os.mkfifo(tmp_path / "pipe.pt")

    with pytest.raises(SettingError, match=r"empty\.pt cannot be used: it is empty"):
        read_initial_weights(str(tmp_path / "empty.pt"), network().state_dict())
    with pytest.raises(SettingError, match=r"pipe\.pt cannot be read \(it is no ordinary file\); put its path right"):
        read_initial_weights(str(tmp_path / "pipe.pt"), network().state_dict())


def test_what_is_not_there_or_damaged_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    directory = save_run(tmp_path / "run", state)
    (directory.checkpoints / "step_0000020" / "state.pt").write_bytes(b"damaged")
    names = network().state_dict()

    for source, reason in (
        (tmp_path / "none", "cannot be read .No such file"),
        (tmp_path, "it holds no checkpoint"),
        (directory.checkpoints / "step_0000020", "state.pt is not what its manifest says"),
        (tmp_path / "x.safetensors", "cannot be read .No such file"),
    ):
        with pytest.raises(SettingError, match=reason):
            read_initial_weights(str(source), names)
    # Of a run folder the newest usable one is taken, as by a resume.
    assert read_initial_weights(str(directory.root), names).parent_step == 10

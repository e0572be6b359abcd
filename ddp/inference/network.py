"""A trained network, ready to be used: the network's code and the weights of a run or a file, matched completely."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddp.checkpoint.network_shape import shape_of
from ddp.checkpoint.trained_weights import AVERAGED, TrainedWeights, weights_at, weights_of_run
from ddp.inference.onnx_network import SUFFIX as ONNX
from ddp.inference.onnx_network import open_onnx
from ddp.vsr.networks.choice import settings_in
from ddp.workload import load_network
from service.config.settings import RunConfig
from service.errors import SettingError, UserError

MAX_NAMES = 3


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode on the CPU: (1, T, 3, h, w) in 0…1 → (1, 3, H, W), about 0…1.

    `reach` is as in `ddp.workload.Tileable`; `origin` says for people where the weights are from.
    """

    module: nn.Module
    settings: Mapping[str, Any]
    n_frames: int
    scale: int
    reach: int | None
    origin: str

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def open_network(config: RunConfig, run: Path, file: Path | None) -> TrainedNetwork:
    """Return the network of `file` if one is named, else of the best state of the run directory `run`.

    What the weights do not say of their network, `config` says. Raises `UserError`.
    """
    if file is not None and file.suffix == ONNX:
        return _open_onnx(file)
    return _built(config, _found(config, run, file))


def open_networks(config: RunConfig, run: Path, file: Path | None) -> dict[str, TrainedNetwork]:
    """Return the network as `ki`, and one with its averaged weights as `ema` if there are any, from the same places.

    Raises `UserError`.
    """
    if file is not None and file.suffix == ONNX:
        return {"ki": _open_onnx(file)}
    found = _found(config, run, file)
    named = found.variants or {"ki": found.tensors}
    origin = found.origin.removesuffix(AVERAGED)
    origins = {"ki": origin, "ema": f"{origin}{AVERAGED}"}
    return {
        name: _built(config, replace(found, tensors=tensors, origin=origins[name])) for name, tensors in named.items()
    }


def _found(config: RunConfig, run: Path, file: Path | None) -> TrainedWeights:
    """Return the weights of a file, or of a run. Raises `UserError`, also for a file of another workload."""
    found = weights_of_run(run) if file is None else weights_at(file)
    if file is not None and (workload := found.settings.get("workload", config.workload)) != config.workload:
        raise UserError(
            f"{file} is of the WORKLOAD {workload!r}, not {config.workload!r}: if you trust it, set that one"
        )
    return found


def _built(config: RunConfig, found: TrainedWeights) -> TrainedNetwork:
    """Return the network with these weights. Raises `UserError`."""
    settings = dict(found.settings) or dict(settings_in(found.tensors))
    try:
        own_config = replace(config, **settings)
        network = load_network(own_config)
    except SettingError as error:
        raise UserError(f"the network of {found.origin} cannot be built: {error}") from error
    _fill(network.module, found)
    network.module.eval().requires_grad_(False)
    return TrainedNetwork(
        network.module, shape_of(own_config), own_config.n_frames, own_config.scale, network.reach, found.origin
    )  # fmt: skip


def _open_onnx(file: Path) -> TrainedNetwork:
    """Return the network of an ONNX file, which runs on the CPU. Raises `UserError`."""
    module = open_onnx(file)
    settings = module.settings()
    return TrainedNetwork(
        module.eval(), settings, settings["n_frames"], settings["scale"], module.reach(), str(file)
    )  # fmt: skip


def _fill(module: nn.Module, found: TrainedWeights) -> None:
    """Put the weights into the network. Raises `UserError` if they are not those of all its layers, or not finite."""
    wanted = module.state_dict()
    missing = sorted(name for name in wanted if name not in found.tensors)
    others = sorted(name for name in found.tensors if name not in wanted)
    reshaped = sorted(name for name in wanted if name in found.tensors and not _fits(found.tensors[name], wanted[name]))
    if missing or others or reshaped:
        parts = {"missing": missing, "unexpected": others, "of another shape": reshaped}
        text = "; ".join(f"{what}: {_listed(names)}" for what, names in parts.items() if names)
        raise UserError(f"the weights {found.origin} are not for this network ({text}): give the settings of theirs")
    broken = sorted(name for name in wanted if not torch.isfinite(found.tensors[name]).all())
    if broken:
        raise UserError(f"the weights {found.origin} hold values that are no numbers ({_listed(broken)}): take others")
    module.load_state_dict(dict(found.tensors))


def _fits(tensor: Tensor, wanted: Tensor) -> bool:
    return tensor.shape == wanted.shape


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")

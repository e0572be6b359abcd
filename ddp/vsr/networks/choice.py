"""The network that the setting NETWORK names: built, described, and recognized by its weights.

recurrent   two trunks over the frames, without alignment: the original's network
single      the centre frame alone: the control
aligned     one trunk behind an alignment without parameters
"""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from ddp.vsr.networks import aligned, recurrent, single
from ddp.vsr.networks.aligned import Aligned
from ddp.vsr.networks.alignment.degradation import degradation_of
from ddp.vsr.networks.recurrent import VSR
from ddp.vsr.networks.single import SingleFrame
from ddp.workload import Network
from service.config.settings import RunConfig


def build(config: RunConfig) -> Network:
    """Build the network of the settings, (B, T, 3, h, w) → (B, 3, s·h, s·w). Raises `UserError` for invalid sizes."""
    return Network(_module(config), reach_for(config))


def reach_for(config: RunConfig) -> int:
    """Return how many LR pixels away a pixel of the network's output depends on."""
    if config.network == "recurrent":
        return recurrent.reach_for(config.n_blocks, config.n_frames)
    return single.reach_for(config.n_blocks) if config.network == "single" else aligned.reach_for(config.n_blocks)


def _module(config: RunConfig) -> nn.Module:
    sizes, recomputes = (config.n_feats, config.n_blocks), config.activation_checkpointing
    if config.network == "recurrent":
        return VSR(*sizes, config.n_frames, config.scale, recomputes)
    degradation = degradation_of(config.degradation, config.scale)
    network = SingleFrame if config.network == "single" else Aligned
    return network(*sizes, degradation, recomputes)


def layers_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers whose activity is reported, by the names and in the order of `layer_activity_map`."""
    if isinstance(module, VSR):
        return recurrent.tracked_layers(module)
    assert isinstance(module, SingleFrame | Aligned)
    return module.trunk.layers()


def fusion_of(module: nn.Module) -> nn.Module | None:
    """Return the layer that brings the frames together, whose learning rate is a setting; None without one."""
    if isinstance(module, VSR):
        return module.fusion
    return module.trunk.join if isinstance(module, Aligned) else None


def settings_in(tensors: Mapping[str, Tensor]) -> dict[str, int | str]:
    """Return the settings of the network with these weights, as far as they say them; empty for another network.

    They do not say the degradation and the number of frames: the layers are the same for each.
    """
    join, enlarging = tensors.get("trunk.join.weight"), tensors.get("trunk.enlarge.weight")
    if join is None or enlarging is None or join.ndim != 4:
        sizes = recurrent.sizes_in(tensors)
        return {"network": "recurrent", **sizes} if sizes else {}
    n_blocks = len({name.split(".")[2] for name in tensors if name.startswith("trunk.blocks.")})
    network = "single" if join.shape[1] == single.CHANNELS else "aligned"
    return {"network": network, "n_feats": len(join), "n_blocks": n_blocks, "scale": math.isqrt(len(enlarging) // 3)}

"""The settings that say which network a checkpoint is for: a run goes on with the same ones, and a file names them."""

from collections.abc import Mapping
from typing import Any

from service.config.settings import RunConfig

SIZES = ("n_feats", "n_blocks", "n_frames", "scale")
"""Settings with a whole number, beside WORKLOAD."""
NAMES = ("network", "degradation")
"""Settings with a name, of the own workload only."""
OWN_WORKLOAD = "ddp.vsr.workload"
EARLIER = {"network": "recurrent"}
"""What a checkpoint means that was saved when there was only one network."""


def shape_of(config: RunConfig) -> dict[str, Any]:
    """Return the settings that describe the network of a run, by lower-case names."""
    shape = {"workload": config.workload, **{name: getattr(config, name) for name in SIZES}}
    if config.workload != OWN_WORKLOAD:
        return shape
    # The recurrent network knows nothing of how low resolution is made, and may change to another one.
    degradation = {} if config.network == "recurrent" else {"degradation": config.degradation}
    return {**shape, "network": config.network, **degradation}


def complete(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved shape with what it meant at its time."""
    return {**(EARLIER if saved.get("workload", OWN_WORKLOAD) == OWN_WORKLOAD else {}), **saved}


def differences(saved: Mapping[str, Any], shape: Mapping[str, Any]) -> list[str]:
    """Return `name saved → own` for all that differs; what follows from another network is not said beside it."""
    saved = complete(saved)
    optional = () if saved.get("network") == shape.get("network") else ("degradation",)
    return [
        f"{key} {saved.get(key)} → {value}"
        for key, value in shape.items()
        if saved.get(key) != value and key not in optional
    ]

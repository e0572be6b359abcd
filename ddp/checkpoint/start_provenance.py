"""From what a start is made, as far as only the trainer knows: ranks, devices, data, the weights it began with."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from ddp.distributed.world import World
from ddp.workload import Workload, data_identity
from service.config.loader import LoadedConfig
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.provenance.provenance import ProvenanceFile

logger = logging.getLogger(__name__)


def about_start(world: World, workload: Workload) -> dict[str, Any]:
    """Return what only the trainer knows of a start. Called by all ranks."""
    data, devices = data_identity(workload), world.gather((world.host, device_name(world.device)))
    return {
        "world_size": world.size,
        "devices": [{"rank": rank, "host": host, "device": name} for rank, (host, name) in enumerate(devices)],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "training_data": data.training,
        "validation_data": data.validation,
    }


def device_name(device: torch.device) -> str:
    """Return what a device is called by its maker, or its type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def collect_provenance(loaded: LoadedConfig, identity: RunIdentity, about_run: Mapping[str, Any]) -> ProvenanceFile:
    """Return from what a start of the run is made, unwritten: the start may still be refused."""
    parent = {"init_from": identity.init_from, "parent_run": identity.parent_run, "parent_step": identity.parent_step}
    return ProvenanceFile.collect(loaded, {**about_run, **parent})


def write_provenance(directory: RunDirectory, identity: RunIdentity, file: ProvenanceFile) -> None:
    """Write it, and the identity that names it; if that fails it is logged, and the run goes on."""
    try:
        file.write(directory)
        directory.write_identity(identity)
    except OSError as error:
        logger.warning("What this start is made from could not be written: %s", error)

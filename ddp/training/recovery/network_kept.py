"""Which network a start goes on with where NETWORK is not given: that of the weights which are there.

So a run begun when another network was the default goes on with its own, and a new run that begins with the weights of
another (INIT_FROM) trains the network they are for.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.format import UnusableError, checkpoint_name, shape_in
from ddp.checkpoint.network_shape import OWN_WORKLOAD, complete
from ddp.checkpoint.trained_weights import weights_at
from ddp.distributed.world import World
from service.config.loader import LoadedConfig
from service.errors import UserError
from service.run.directory import RunDirectory

NETWORK = "NETWORK"
CHECKPOINT = "checkpoint"
"""Origins of NETWORK beside those of a setting that was given: the run's own checkpoint, or INIT_FROM."""
INIT_FROM = "INIT_FROM"

logger = logging.getLogger(__name__)


def with_network_of_weights(world: World, loaded: LoadedConfig, source: str, *, continues_run: bool) -> LoadedConfig:
    """Return the settings with the network of the run's checkpoints, else of the weights at `source`.

    Unchanged where NETWORK is given, where neither says a network, and for a workload of one's own. Looks on rank 0
    alone and raises nothing: what cannot be read is reported where it is needed.
    """
    found = world.from_main(_found(loaded, source, continues_run=continues_run) if world.is_main else None)
    if found is None:
        return loaded
    network, origin = found
    config = replace(loaded.config, network=network)
    return replace(loaded, config=config, origins={**loaded.origins, NETWORK: origin})


def log_kept_network(loaded: LoadedConfig) -> None:
    """Say so where the network is not the default one and nobody has named it. For rank 0."""
    origin = loaded.origins.get(NETWORK)
    if origin in {CHECKPOINT, INIT_FROM}:
        of = "its checkpoint" if origin == CHECKPOINT else f"INIT_FROM {loaded.config.init_from}"
        logger.info("NETWORK is not set: the run trains %r, the network of %s.", loaded.config.network, of)


def _found(loaded: LoadedConfig, source: str, *, continues_run: bool) -> tuple[str, str] | None:
    """Return the network of the weights, and where they are; None if it is the one of the settings anyway."""
    config = loaded.config
    if NETWORK in loaded.origins or config.workload != OWN_WORKLOAD:
        return None
    origin = CHECKPOINT
    network = _of_checkpoints(RunDirectory(config.data_root).checkpoints) if continues_run else None
    if network is None and source:
        origin, network = INIT_FROM, _of_weights(source)
    return None if network in {None, config.network} else (str(network), origin)


def _of_checkpoints(folder: Path) -> str | None:
    """Return the network of the newest state that can be read: all states of a run are for the same one."""
    with suppress(OSError):
        for step in CheckpointFolder(folder).steps():
            with suppress(UnusableError):
                return _network_in(complete(shape_in(folder / checkpoint_name(step))))
    return None


def _of_weights(source: str) -> str | None:
    # Imported here, because most starts need none of it.
    from ddp.vsr.networks.choice import settings_in

    try:
        found = weights_at(Path(source).expanduser())
    except UserError:
        return None
    return _network_in(found.settings or settings_in(found.tensors))


def _network_in(settings: Mapping[str, object]) -> str | None:
    network = settings.get("network")
    return network if isinstance(network, str) else None

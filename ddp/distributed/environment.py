"""Rank and world size of this process, from the environment variables of torchrun, srun or mpirun."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from service.errors import SettingError
from service.launcher.machines.tasks import torchrun_variables


@dataclass(frozen=True)
class RankEnvironment:
    """Rank environment set by torchrun. Without any launcher: a world of one rank.

    `local_size` is the number of ranks on this machine, 0 if the launcher does not say.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    is_launched: bool = False
    restarts: int = 0
    restarts_left: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "RankEnvironment":
        """Read the variables that torchrun sets for each worker."""
        if "RANK" not in environment:
            return cls()
        return cls(
            rank=int(environment["RANK"]),
            local_rank=int(environment["LOCAL_RANK"]),
            world_size=int(environment["WORLD_SIZE"]),
            is_launched=True,
            restarts=(restarts := int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))),
            restarts_left=int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0")) - restarts,
            local_size=int(environment.get("LOCAL_WORLD_SIZE", "0")),
        )

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only process that writes."""
        return self.rank == 0


def without_rank(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that is no rank."""
    of_rank = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
    return {name: text for name, text in environment.items() if name not in of_rank}


def choose_device(setting: str, environment: RankEnvironment) -> torch.device:
    """Return the device of this rank: its own GPU, or the CPU. Raises `SettingError` if there are too few GPUs."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if setting == "cpu" or (setting == "auto" and gpus == 0):
        return torch.device("cpu")
    if environment.local_rank >= gpus:
        raise SettingError(
            f"Rank {environment.rank} needs GPU {environment.local_rank}, but this machine has {gpus}; "
            f"start at most {gpus} ranks here, or set DEVICE=cpu."
        )
    return torch.device("cuda", environment.local_rank)


def rank_environment() -> RankEnvironment:
    """Return the rank environment of this process; a task of srun or mpirun is given torchrun's variables first.

    Raises `SettingError` if it is one of several, but what all ranks need is not known.
    """
    os.environ.update(torchrun_variables(os.environ))
    return RankEnvironment.from_environment(os.environ)

"""The ranks of a training that srun or mpirun starts as its tasks, without torchrun: who each is, and where they meet.

A task finds its rank in the variables of its launcher, and is given the variables of torchrun. What no launcher tells
is derived the same way by all: rank 0 is on the first machine, and its port follows from the job. MASTER_ADDR and
MASTER_PORT overrule that.
"""

import os
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import SettingError

FIRST_PORT, PORTS = 10_000, 20_000
"""Ports for rank 0: below those that the kernel gives to connections."""
NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun sets, and that every rank needs."""
NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
UNSUPPORTED = {"PMI_SIZE": "PMI_RANK", "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK", "PALS_SIZE": "PALS_RANKID"}
"""Number and rank of a task under launchers that do not say more."""


@dataclass(frozen=True)
class TaskLauncher:
    """A launcher of tasks, and the names of the variables that it sets in each of them."""

    name: str
    rank: str
    size: str
    local_rank: str
    local_size: str = ""
    nodes: str = ""
    hosts: tuple[str, ...] = ("SLURM_JOB_NODELIST",)  # mpirun takes the machines of its Slurm job in their order
    job: tuple[str, ...] = ()


LAUNCHERS = (
    TaskLauncher(
        "mpirun",
        rank="OMPI_COMM_WORLD_RANK",
        size="OMPI_COMM_WORLD_SIZE",
        local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
        local_size="OMPI_COMM_WORLD_LOCAL_SIZE",
        job=("SLURM_JOB_ID", "OMPI_MCA_ess_base_jobid", "PMIX_NAMESPACE"),
    ),
    TaskLauncher(
        "mpiexec",
        rank="PMI_RANK",
        size="PMI_SIZE",
        local_rank="MPI_LOCALRANKID",
        local_size="MPI_LOCALNRANKS",
    ),
    TaskLauncher(
        "srun",
        rank="SLURM_PROCID",
        size="SLURM_STEP_NUM_TASKS",  # unlike SLURM_NTASKS, this is not set in a batch script, which is one process
        local_rank="SLURM_LOCALID",
        nodes="SLURM_STEP_NUM_NODES",
        hosts=("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"),
        job=("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ),
)
"""From the innermost to the outermost: within a Slurm job, mpirun starts its tasks by srun."""


@dataclass(frozen=True)
class Task:
    """One of several tasks of a job."""

    launcher: TaskLauncher
    rank: int
    size: int
    local_rank: int


def find_task(environment: Mapping[str, str]) -> Task | None:
    """Return which task this process is, or None if it is the only one or torchrun has started it.

    Raises `SettingError` if this process is one of several, but its launcher does not say enough.
    """
    if "RANK" in environment:
        return None
    for launcher in LAUNCHERS:
        names = (launcher.rank, launcher.size, launcher.local_rank)
        if all(environment.get(name, "").isdecimal() for name in names):
            rank, size, local_rank = (int(environment[name]) for name in names)
            return Task(launcher, rank, size, local_rank) if size > 1 else None
    for size_name, rank_name in UNSUPPORTED.items():
        if environment.get(size_name, "1") != "1":
            raise SettingError(
                f"This is one of {environment[size_name]} tasks ({rank_name} is {environment.get(rank_name)}) whose "
                "launcher does not say which is on which machine: start one task per machine, each with torchrun."
            )
    return None


def require_single_task(environment: Mapping[str, str]) -> None:
    """Raise `SettingError` if this process, which is to start ranks, is one of several tasks."""
    task = find_task(environment)
    if task is not None:
        raise SettingError(
            f"{task.launcher.name} has started {task.size} of these, and each would train by itself: start one, or "
            f"let {task.launcher.name} start the ranks, as in `{task.launcher.name} python -m ddp --resume`."
        )


def torchrun_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return torchrun's variables for a task of srun or mpirun; none if torchrun set them, or for a world of one.

    Raises `SettingError` if something that all ranks need is missing.
    """
    if "RANK" in environment:
        if missing := [name for name in NEEDED if not environment.get(name)]:
            raise SettingError(f"RANK is set, but {', '.join(missing)} not: start the ranks with torchrun, or set all.")
        for name in NUMBERS:
            if not environment[name].isdecimal():
                raise SettingError(f"{name} is {environment[name]!r}, but must be a whole number, as torchrun sets it.")
        return {}
    task = find_task(environment)
    if task is None:
        return {}
    return {
        "RANK": str(task.rank),
        "LOCAL_RANK": str(_device_index(task, environment)),
        "WORLD_SIZE": str(task.size),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or _first_host(task, environment),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(_port(task, environment)),
    }


def _device_index(task: Task, environment: Mapping[str, str]) -> int:
    """Return the number of the task's GPU: 0 if the scheduler shows every task one of its own."""
    return 0 if re.fullmatch(r"[^,]+", environment.get("CUDA_VISIBLE_DEVICES", "")) else task.local_rank


def _first_host(task: Task, environment: Mapping[str, str]) -> str:
    launcher = task.launcher
    if environment.get(launcher.local_size) == str(task.size) or environment.get(launcher.nodes) == "1":
        return "127.0.0.1"
    for name in launcher.hosts:
        if environment.get(name):
            return first_of(environment[name])
    raise SettingError(
        f"{launcher.name} does not say on which machine rank 0 of {task.size} is: set MASTER_ADDR to its name for all "
        "ranks, and MASTER_PORT to a free port there."
    )


def first_of(node_list: str) -> str:
    """Return the first host of a Slurm node list: `gpu-07` of `gpu-[07-10,12],login`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", node_list)
    return re.sub(r"\[([^\]]*)\]", lambda ranges: re.split("[-,]", ranges[1])[0], first[0] if first else node_list)


def _port(task: Task, environment: Mapping[str, str]) -> int:
    """Return a port that follows from the job's id, or where the launcher gives it none, from the command line."""
    identity = [environment[name] for name in task.launcher.job if environment.get(name)]
    text = " ".join(identity or [os.getcwd(), *sys.argv])
    return FIRST_PORT + zlib.crc32(text.encode()) % PORTS

"""Tasks of srun and mpirun: their ranks, and where they meet. `tests/ddp/behaviour/test_tasks.py` lets them train."""

from collections.abc import Mapping

import pytest

from service.errors import SettingError
from service.launcher.machines.tasks import (
    FIRST_PORT,
    PORTS,
    find_task,
    first_of,
    require_single_task,
    torchrun_variables,
)

SRUN = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu-[07-08]",
}  # fmt: skip
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "5",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "8", "OMPI_MCA_ess_base_jobid": "1234567",
}  # fmt: skip
MPIEXEC = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "5", "MPI_LOCALNRANKS": "8"}
BATCH_SCRIPT = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"}
TORCHRUN = {
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


def place(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Rank, local rank, number of ranks, and the machine of rank 0."""
    variables = torchrun_variables(environment)
    return tuple(variables[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (SRUN, ("5", "1", "8", "gpu-07")),
        ({**SRUN, "SLURM_STEP_NUM_NODES": "1"}, ("5", "1", "8", "127.0.0.1")),
        ({**SRUN, "CUDA_VISIBLE_DEVICES": "3"}, ("5", "0", "8", "gpu-07")),
        ({**SRUN, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, ("5", "1", "8", "gpu-07")),
        ({**SRUN, "MASTER_ADDR": "fast-network"}, ("5", "1", "8", "fast-network")),
        (MPIRUN, ("5", "5", "8", "127.0.0.1")),
        ({**MPIRUN, "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "MASTER_ADDR": "box"}, ("5", "5", "8", "box")),
        # Within a Slurm job, mpirun starts its tasks by srun: theirs are the inner variables.
        (
            {**SRUN, **MPIRUN, "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "SLURM_JOB_NODELIST": "cpu[3,7]"},
            ("5", "5", "8", "cpu3"),
        ),
        (MPIEXEC, ("5", "5", "8", "127.0.0.1")),
        ({**SRUN, "PMI_RANK": "5", "PMI_SIZE": "8"}, ("5", "1", "8", "gpu-07")),
    ],
)
def test_a_task_gets_the_variables_of_torchrun(environment: dict[str, str], expected: tuple[str, ...]) -> None:
    assert place(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {}, BATCH_SCRIPT, TORCHRUN, {**SRUN, **TORCHRUN}, {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {**MPIRUN, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, {"PMI_SIZE": "1", "PMI_RANK": "0"},
    ],
)  # fmt: skip
def test_a_single_process_and_one_of_torchrun_are_left_as_they_are(environment: dict[str, str]) -> None:
    assert torchrun_variables(environment) == {}
    assert find_task(environment) is None
    require_single_task(environment)


@pytest.mark.parametrize("own", [SRUN, MPIRUN, MPIEXEC])
def test_all_tasks_of_a_job_meet_at_one_port_that_follows_from_the_job(own: dict[str, str]) -> None:
    ranks = [{**own, "SLURM_PROCID": rank, "OMPI_COMM_WORLD_RANK": rank, "PMI_RANK": rank} for rank in "01234567"]
    ports = {torchrun_variables(environment)["MASTER_PORT"] for environment in ranks}

    assert len(ports) == 1
    assert FIRST_PORT <= int(*ports) < FIRST_PORT + PORTS
    assert torchrun_variables({**own, "MASTER_PORT": "29500"})["MASTER_PORT"] == "29500"


def test_another_job_and_another_step_of_the_same_job_meet_elsewhere() -> None:
    steps = [SRUN, {**SRUN, "SLURM_STEP_ID": "1"}, {**SRUN, "SLURM_JOB_ID": "4712"}]

    assert len({torchrun_variables(environment)["MASTER_PORT"] for environment in steps}) == 3


@pytest.mark.parametrize(
    ("node_list", "first"),
    [
        ("gpu-[07-10,12],login", "gpu-07"), ("box", "box"), ("a,b", "a"), ("n[1-3]", "n1"), ("n[3,5]-ib,z", "n3-ib"),
        ("rack[1-2]node[3,5],z", "rack1node3"), ("box.our.lan", "box.our.lan"),
    ],
)  # fmt: skip
def test_the_first_machine_of_a_node_list_is_found(node_list: str, first: str) -> None:
    assert first_of(node_list) == first


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {**MPIRUN, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"},
            "does not say on which machine rank 0 of 8 is: set MASTER_ADDR",
        ),
        ({"PMI_RANK": "2", "PMI_SIZE": "4"}, "one of 4 tasks (PMI_RANK is 2)"),
        ({"RANK": "2", "WORLD_SIZE": "4"}, "RANK is set, but LOCAL_RANK, MASTER_ADDR, MASTER_PORT not"),
        (
            {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "x", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "WORLD_SIZE is 'x', but must be a whole number, as torchrun sets it.",
        ),
    ],
)
def test_where_something_is_missing_one_sentence_says_what(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingError) as refused:
        torchrun_variables(environment)

    assert words in str(refused.value)


def test_a_command_that_starts_ranks_itself_is_refused_as_one_of_several_tasks() -> None:
    with pytest.raises(SettingError) as refused:
        require_single_task(SRUN)

    assert str(refused.value) == (
        "srun has started 8 of these, and each would train by itself: start one, or let srun start the ranks, as in "
        "`srun python -m ddp --resume`."
    )

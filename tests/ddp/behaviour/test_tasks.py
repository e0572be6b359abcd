"""Ranks that srun or mpirun starts without torchrun. Their variables are real ones; no such program is needed."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from service.launcher.machines.tasks import torchrun_variables
from service.run.record import list_records
from service.run.state import LEFT_BY_SIGNAL, RunState
from tests.ddp.harness.launching import Launch, settings
from tests.ddp.harness.training import Eventually, Training


def srun(rank: int, size: int) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(size),
        "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NODELIST": "box", "SLURM_NTASKS": str(size),
        "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
    }  # fmt: skip


def mpirun(rank: int, size: int) -> dict[str, str]:
    return {
        "OMPI_MCA_ess_base_jobid": str(os.getpid()), "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(size), "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
    }  # fmt: skip


def mpiexec(rank: int, size: int) -> dict[str, str]:
    return {
        "PMI_SIZE": str(size), "MPI_LOCALNRANKS": str(size), "PMI_RANK": str(rank), "MPI_LOCALRANKID": str(rank),
    }  # fmt: skip


Tasks = list[Training]


def start(launch: Launch, folder: Path, dataset: Path, eventually: Eventually, launcher: object, steps: int) -> Tasks:
    """Start two tasks of one job."""
    assert callable(launcher)
    values = settings(DATASET_ROOT=dataset, DATA_ROOT=folder / "run", MAX_STEPS=steps, VAL_STEP_EVERY=10**6)
    tasks = []
    for rank in (0, 1):
        output = f"{rank}.txt"
        process = launch([sys.executable, "-m", "ddp", *values], output=output, environment=launcher(rank, 2))
        tasks.append(Training(process, folder / "run", folder / output, eventually))
    return tasks


@pytest.mark.parametrize("launcher", [srun, mpirun, mpiexec])
def test_tasks_of_one_job_train_together(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually, launcher: object
) -> None:
    tasks = start(launch, tmp_path, tiny_dataset, eventually, launcher, steps=4)

    assert [task.end() for task in tasks] == [0, 0], tasks[0].output + tasks[1].output
    assert "2 ranks on cpu" in tasks[0].output
    assert [step for step, _ in list_records(tmp_path / "run")] == [4]
    assert tasks[0].record(4)["samples_seen"] == 4 * 2 * 2


def test_an_announced_end_makes_all_tasks_save_and_leave(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually
) -> None:
    main, other = start(launch, tmp_path, tiny_dataset, eventually, srun, steps=10**6)
    main.wait_for_step(3)
    other.process.send_signal(signal.SIGUSR1)

    assert [main.end(), other.end()] == [143, 143], main.output + other.output
    row = main.run()
    assert row is not None
    assert (row.state, row.reason) == (RunState.STOPPED, LEFT_BY_SIGNAL)


def test_tasks_whose_port_is_taken_end_with_one_sentence(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually
) -> None:
    port = torchrun_variables(srun(0, 2))["MASTER_PORT"]
    with socket.create_server(("", int(port))):
        main, other = start(launch, tmp_path, tiny_dataset, eventually, srun, steps=4)

        assert main.end() == 2
        other.process.kill()  # as srun does with --kill-on-bad-exit
    assert f"Error: The 2 ranks did not meet at 127.0.0.1, port {port} (" in main.output
    assert "Traceback" not in main.output
    assert not (tmp_path / "run").exists()


def test_a_task_of_a_launcher_that_says_too_little_ends_with_one_sentence(launch: Launch, tmp_path: Path) -> None:
    environment = {"PMI_RANK": "0", "PMI_SIZE": "2"}

    assert launch([sys.executable, "-m", "ddp"], environment=environment).wait(timeout=60) == 2
    output = (tmp_path / "output.txt").read_text()
    assert output.startswith("Error: This is one of 2 tasks (PMI_RANK is 0)")
    assert len(output.splitlines()) == 1

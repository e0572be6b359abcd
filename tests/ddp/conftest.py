"""A tiny patch set that trains in milliseconds, and a way to start real ranks on it."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.ddp.harness import store_serving
from tests.ddp.harness.launching import Launch, settings, torchrun, write_pair
from tests.ddp.harness.store_serving import ServeStore
from tests.ddp.harness.training import Eventually, Training
from tests.harness.descendants import kill_family
from tests.harness.forked import Process, StartPython


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 training pairs of one size, 3 validation pairs of different sizes: fewer than the four ranks of a test."""
    root = tmp_path_factory.mktemp("tiny")
    for index in range(11):
        write_pair(root / "Patches", f"train_{index:02d}", 36, 36, seed=index)
    for index, (height, width) in enumerate([(36, 48), (48, 36), (60, 60)]):
        write_pair(root / "Val", f"val_{index}", height, width, seed=100 + index)
    return root


@pytest.fixture
def launch(tmp_path: Path, start_python: StartPython) -> Iterator[Launch]:
    """Start a program with its output in a file; whatever still runs at the end of the test is killed."""
    started: list[Process] = []

    def start(
        command: list[str],
        output: str = "output.txt",
        environment: Mapping[str, str] | None = None,
        *,
        is_forked: bool = True,
    ) -> Process:
        start_process = start_python if is_forked else partial(subprocess.Popen, text=True)
        with (tmp_path / output).open("w") as file:
            process = start_process(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        kill_family(process)


@pytest.fixture
def serving_store(start_python: StartPython) -> ServeStore:
    """Serve torch's key-value store for the time of a `with`."""
    return partial(store_serving.serving_store, start_python)


@pytest.fixture
def train(launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually) -> Callable[..., Training]:
    """Start a training under torchrun: `train(2, "--resume", MAX_STEPS=5)`.

    `root` names the run directory below tmp_path; `launcher` are options of torchrun, `environment` more variables.
    Without `is_forked` every process is a new interpreter, which has imported nothing yet.
    """

    def start(
        ranks: int,
        *flags: str,
        output: str = "output.txt",
        root: str = "run",
        launcher: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        is_forked: bool = True,
        **values: object,
    ) -> Training:
        chosen = settings(**{"DATASET_ROOT": tiny_dataset, "DATA_ROOT": tmp_path / root, **values})
        command = torchrun(ranks, *launcher, "-m", "ddp", *flags, *chosen)
        process = launch(command, output=output, environment=environment, is_forked=is_forked)
        return Training(process, tmp_path / root, tmp_path / output, eventually)

    return start

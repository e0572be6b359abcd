"""A tiny patch set that trains in milliseconds, and a way to start real ranks on it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ddp.launching import Launch, write_pair


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
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start a program with its output in a file; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(command: list[str], output: str = "output.txt") -> "subprocess.Popen[str]":
        with (tmp_path / output).open("w") as file:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()

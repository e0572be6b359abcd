"""One `leitstand up` on real clips, as a person starts it, for the tests of the whole path."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from service.client.client import Client
from service.errors import UserError
from tests.api.harness.serving import serving
from tests.ddp.harness.launching import write_pair
from tests.e2e.tiny_run import TinyRun
from tests.harness.descendants import descendants, kill_family
from tests.harness.forked import StartPython

LEITSTAND = str(Path(sys.executable).parent / "leitstand")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ControlRoom:
    """A control room in operation: its process, its directory, its address."""

    process: "subprocess.Popen[str]"
    root: Path
    output: Path
    url: str

    def client(self) -> Client:
        return Client(self.url, actor="tester")

    def live_step(self) -> int:
        """The newest step that the API shows; -1 while nothing answers."""
        try:
            with self.client() as client:
                return int(client.state()["step_live"])
        except UserError:
            return -1

    def wait_for_step(self, step: int, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while self.live_step() < step:
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, f"no step {step} within {seconds} s:\n{self.output.read_text()}"
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """The control room's own process and everything below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def run_cli(self, *arguments: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        """`leitstand …` against this room."""
        environment = {**os.environ, "LEITSTAND_URL": self.url}
        return subprocess.run(
            [LEITSTAND, *arguments], env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )


def open_room(repository: Path, folder: Path, output: str, *flags: str, **values: object) -> ControlRoom:
    """Start `leitstand up` with the demonstration's settings and these changes."""
    port = free_port()
    chosen = {"DATA_ROOT": folder / "runs" / "demo", "API_PORT": port, "DEVICE": "cpu", **values}
    settings = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    path = folder / output
    with path.open("w") as file:
        process = subprocess.Popen(
            [LEITSTAND, "up", "--demo", "--ranks", "2", *flags, *settings],
            cwd=repository, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
    return ControlRoom(process, folder / "runs" / "demo", path, f"http://127.0.0.1:{port}")


def close_room(room: ControlRoom) -> None:
    """End whatever is left of a room, without a trace."""
    left = descendants(room.process.pid)
    room.process.terminate()
    with suppress(subprocess.TimeoutExpired):
        room.process.wait(timeout=30)
    kill_family(room.process)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole_path")


@pytest.fixture(scope="module")
def room(repository: Path, folder: Path) -> Iterator[ControlRoom]:
    """A training on real video in which validations come every 10 steps; skipped where clips cannot be fetched."""
    opened = open_room(repository, folder, "up.txt", VAL_STEP_EVERY=10, LOG_EVERY=5, CHECKPOINT_EVERY=1000)
    try:
        if not wait_for_training(opened):
            pytest.skip(f"the real clips could not be fetched:\n{opened.output.read_text()}")
        yield opened
    finally:
        close_room(opened)


def wait_for_training(room: ControlRoom) -> bool:
    """Whether the training began; False when the preparation ended for want of a network."""
    deadline = time.monotonic() + 240
    while room.live_step() < 1:
        if room.process.poll() is not None and "VIDEO_ROOT" in room.output.read_text():
            return False
        assert room.process.poll() is None, room.output.read_text()
        assert time.monotonic() < deadline, room.output.read_text()
        time.sleep(0.2)
    return True


@pytest.fixture
def unserved_run(tmp_path: Path, start_python: StartPython, eventually: Callable[..., None]) -> Iterator[TinyRun]:
    """A tiny patch set and two ranks that the test starts; nothing serves it."""
    for index in range(8):
        write_pair(tmp_path / "Patches", f"train_{index}", 36, 36, seed=index)
    for index in range(2):
        write_pair(tmp_path / "Val", f"val_{index}", 36, 36, seed=100 + index)
    run = TinyRun(tmp_path, start_python, eventually)
    run.root.mkdir()
    try:
        yield run
    finally:
        if run.processes:
            run.kill_all()


@pytest.fixture
def run(unserved_run: TinyRun) -> Iterator[TinyRun]:
    """The same with the API before it."""
    with serving(unserved_run.root, API_COMMANDS_PER_MINUTE="1000000") as server:
        unserved_run.url = server.url
        yield unserved_run

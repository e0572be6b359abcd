"""A room at work: `leitstand up` with a small training, of which processes are ended and come back."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.soak.collection import FOLDER
from bench.starts.room import free_port
from tests.ddp.harness.launching import settings, write_pair

CHECKOUT = Path(__file__).resolve().parents[2]
LEITSTAND = (sys.executable, "-c", "import sys; from service.cli import main; sys.exit(main())")
HOOK = "from bench.soak.collection import answer_requests\nanswer_requests()\n"
RANKS, RESTARTS = 2, 1_000_000
NEVER = 10**9
SMALL = {
    "MAX_STEPS": NEVER, "VAL_STEP_EVERY": 1000, "CHECKPOINT_EVERY": 1000, "LOG_EVERY": 10, "PATCH_SIZE": 12,
    "WARMUP_STEPS": 100, "KEEP_CHECKPOINTS": 3, "API_READS_PER_MINUTE": 10**8, "API_COMMANDS_PER_MINUTE": 10**6,
}  # fmt: skip
PATIENCE_SECONDS = 180.0


class Room:
    """The processes of one `leitstand up`."""

    def __init__(self, folder: Path) -> None:
        """Write a patch set below `folder`, and start everything."""
        self.folder, self.root = folder, folder / "run"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._output = folder / "output.txt"
        for index in range(8):
            write_pair(folder / "patches" / "Patches", f"train_{index}", 48, 48, seed=index)
        for index in range(2):
            write_pair(folder / "patches" / "Val", f"val_{index}", 48, 48, seed=100 + index)
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        self.blocks = folder / "blocks"
        self.blocks.mkdir()
        self.launcher = self._start()

    def _start(self) -> psutil.Popen:
        values = {"DATASET_ROOT": self.folder / "patches", "DATA_ROOT": self.root, "API_PORT": self._port, **SMALL}
        command = [*LEITSTAND, "up", "--leave", f"--ranks={RANKS}", f"--restarts={RESTARTS}", *settings(**values)]
        added = {
            "PYTHONPATH": os.pathsep.join([str(self.folder / "hook"), str(CHECKOUT)]),
            FOLDER: str(self.blocks),
        }  # fmt: skip
        with self._output.open("a") as output:
            return psutil.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **added},
                cwd=CHECKOUT,
            )  # fmt: skip

    def parts(self) -> Mapping[str, psutil.Process]:
        """The processes that run now, by what they are."""
        found: dict[str, psutil.Process] = {"launcher": self.launcher}
        for process in _below(self.launcher):
            with suppress(psutil.Error):
                if (part := _part(process, self.launcher)) is not None:
                    found.setdefault(part, process)
        return found

    def kill(self, part: str) -> None:
        """Kill a process, and wait until another is in its place."""
        process = self.parts()[part]
        process.kill()
        self.wait_for(lambda: (new := self.parts().get(part)) is not None and new.pid != process.pid, f"another {part}")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds. Raises `TimeoutError`, or `RuntimeError` if the room has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.launcher.poll() is not None:
                raise RuntimeError(f"the room has ended with {self.launcher.poll()}: {self.said()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {PATIENCE_SECONDS:.0f} s: {self.said()}")
            time.sleep(0.1)

    def said(self) -> str:
        """The last that the launcher has printed."""
        return self._output.read_text()[-3000:]

    def end(self) -> int:
        """End all in order; returns the exit code."""
        everything = [self.launcher, *_below(self.launcher)]
        self.launcher.terminate()
        try:
            return int(self.launcher.wait(PATIENCE_SECONDS))
        finally:
            for process in everything:
                with suppress(psutil.Error):
                    process.kill()


@contextmanager
def room_in(folder: Path) -> Iterator[Room]:
    """A room, ended in any case."""
    room = Room(folder)
    try:
        yield room
    finally:
        if room.launcher.poll() is None:
            room.end()


def _below(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


def _part(process: psutil.Process, launcher: psutil.Process) -> str | None:
    """What a process of the room is: rank, torchrun, fork server, API or the API's parent."""
    name, words = process.name(), process.cmdline()
    if name.startswith("rank "):
        return name
    if "gunicorn" in words:
        return "API's parent" if process.ppid() == launcher.pid else "API"
    if "service.launcher.ranks.fork_server" in words:
        return "fork server"
    if "service.launcher.torchrun" in words:
        return "torchrun" if process.ppid() == launcher.pid else f"rank {process.environ().get('RANK')}"
    return None

"""What starts cost, in this tree and in another checkout, in turn: processor seconds, user and system, and memory.

    python -m bench.starts.startup --before DIR [--pairs 9] [--only steps|state|imports|api]

steps     from torchrun to the first step of a tiny network, with one rank and with two: each rank, and the launcher
state     `leitstand state`, answered at once by a stand-in of the server
imports   `import` of the packages in a fresh interpreter
api       memory of the worker that `leitstand serve` starts, after an answer

Processor seconds, since others may use the machine; both trees are measured within moments of each other. A tree is
run by its own `.venv`, where it has one.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from bench.kills.campaign import write_dataset
from bench.steps.blocks import load_text
from tests.ddp.harness.launching import settings

HERE = Path(__file__).resolve().parents[2]
LAUNCHERS = ("service/launcher/torchrun.py", "service/torchrun.py")
IMPORTS = {
    "service": ("service",),
    "service.cli": ("service.cli",),
    "service.client": ("service.client",),
    "api.app": ("api.app",),
    "ddp.__main__": ("ddp.__main__",),
    "all of a rank": ("ddp.training.rank", "ddp.rank", "ddp.__main__"),  # the first that there is
}
LEITSTAND = "import sys; from service.cli import main; main(sys.argv[1:])"
PATIENCE_SECONDS = 120.0

Figures = dict[str, float]
"""{what: processor seconds, or MiB}."""


class Tree:
    """A checkout, and where its runs may write."""

    def __init__(self, root: Path, folder: Path) -> None:
        own = root / ".venv" / "bin" / "python"
        self._root, self._folder = root, folder
        self._python = str(own) if own.exists() else sys.executable
        shutil.copy(Path(__file__).with_name("first_step.py"), folder)
        self._environment = {**os.environ, "PYTHONPATH": f"{root}:{folder}", "OMP_NUM_THREADS": "1"}
        self.first_step_at = 0.0  # Unix time, s, of the last launch

    def run(self, *arguments: str, **environment: str) -> float:
        """Run Python to its end; returns the processor seconds of it and all its children."""
        with self._start(*arguments, **environment) as process:
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0  # it has been waited for
        return used.ru_utime + used.ru_stime

    def first_step(self, dataset: Path, ranks: int) -> Figures:
        """Train two steps."""
        launcher = next(path for path in LAUNCHERS if (self._root / path).exists())
        with tempfile.TemporaryDirectory(dir=self._folder) as run:
            given = settings(
                DATASET_ROOT=dataset, DATA_ROOT=Path(run, "run"), WORKLOAD="first_step", PATCH_SIZE=8, MAX_STEPS=2,
                LOG_EVERY=100, VAL_STEP_EVERY=1000, CHECKPOINT_EVERY=1000,
            )  # fmt: skip
            command = [
                "-m",
                launcher.removesuffix(".py").replace("/", "."),
                "--standalone",
                f"--nproc-per-node={ranks}",
            ]
            self.run(*command, "-m", "ddp", *given, FIRST_STEP=run)
            notes = [json.loads(Path(run, f"{rank}.json").read_text()) for rank in range(ranks)]
        figures = {f"rank {rank} of {ranks}": note["rank"] for rank, note in enumerate(notes)}
        launcher_seconds = max(note["launcher"] for note in notes)
        figures[f"launcher of {ranks}"] = launcher_seconds
        figures[f"all of {ranks}"] = sum(note["rank"] for note in notes) + launcher_seconds
        self.first_step_at = max(note["at"] for note in notes)
        return figures | {f"rank {rank} of {ranks}, MiB": note["rank_mib"] for rank, note in enumerate(notes)}

    def state(self, url: str) -> Figures:
        """`leitstand state`."""
        return {"leitstand state": self.run("-c", LEITSTAND, "state", "--url", url)}

    def imports(self) -> Figures:
        """Each in an interpreter of its own, whose start is in the figure."""
        return {"(nothing)": self.run("-c", "")} | {
            what: self.run("-c", f"import {next(filter(self._has, names))}") for what, names in IMPORTS.items()
        }

    def api_memory(self) -> Figures:
        """MiB of the worker, once it has answered."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with (
            tempfile.TemporaryDirectory(dir=self._folder) as run,
            self._start("-c", LEITSTAND, "serve", *settings_of_server(Path(run), port)) as server,
        ):
            try:
                await_answer(port)
                (worker,) = psutil.Process(server.pid).children()
                memory = worker.memory_full_info()
                return {"API worker, MiB": memory.rss / 2**20, "API worker, its own MiB": memory.uss / 2**20}
            finally:
                server.terminate()

    def _has(self, module: str) -> bool:
        path = self._root / module.replace(".", "/")
        return path.is_dir() or path.with_suffix(".py").exists()

    def _start(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self._python, *arguments], cwd=self._root, env={**self._environment, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def settings_of_server(run: Path, port: int) -> list[str]:
    return [part for pair in (f"DATA_ROOT={run}", f"API_PORT={port}") for part in ("--set", pair)]


def await_answer(port: int) -> None:
    """Wait until the server has answered `/state` once. Raises `TimeoutError`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            connection.request("GET", "/state")
            connection.getresponse().read()
            return
        time.sleep(0.05)
    raise TimeoutError("the server did not answer")


class _Stand(BaseHTTPRequestHandler):
    """Answers everything with an empty state."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stand_in() -> Iterator[str]:
    """A server of this process; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stand) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure(now: Tree, before: Tree, pairs: int, figures_of: Callable[[Tree], Figures]) -> str:
    """A line for each figure: medians of both trees, and the median, least and largest of the pairs' ratios."""
    figures_of(before), figures_of(now)  # files into the cache, bytecode onto the disk
    rounds = []
    for number in range(pairs):  # each is first in every other pair
        if number % 2:
            rounds.append((figures_of(before), figures_of(now)))
        else:
            new_figures = figures_of(now)
            rounds.append((figures_of(before), new_figures))
    lines = []
    for what in rounds[0][0]:
        old, new = ([figures[what] for figures in side] for side in zip(*rounds, strict=True))
        ratios = sorted(b / a for a, b in zip(old, new, strict=True))
        medians = f"{statistics.median(old):8.2f} {statistics.median(new):8.2f}"
        lines.append(f"{what:26} {medians}   {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure both trees in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", choices=("steps", "state", "imports", "api"), default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, stand_in() as url:
        dataset = write_dataset(Path(folder, "patches"))
        parts: dict[str, list[Callable[[Tree], Figures]]] = {
            "steps": [lambda tree: tree.first_step(dataset, 1), lambda tree: tree.first_step(dataset, 2)],
            "state": [lambda tree: tree.state(url)],
            "imports": [Tree.imports],
            "api": [Tree.api_memory],
        }
        for name in ("now", "before"):
            Path(folder, name).mkdir()
        now = Tree(HERE, Path(folder, "now"))
        before = Tree(given.before.resolve(), Path(folder, "before"))
        sys.stdout.write(f"{'processor seconds':26}   before      now   ratio (of {given.pairs} pairs)\n")
        for part, measurements in parts.items():
            for figures_of in measurements if given.only in {None, part} else ():
                sys.stdout.write(measure(now, before, given.pairs, figures_of))
                sys.stdout.flush()
        sys.stdout.write(f"{load_text()}\n")


if __name__ == "__main__":
    main()

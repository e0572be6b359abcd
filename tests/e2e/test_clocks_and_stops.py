"""A real training whose clock or whose API's clock is set, and whose processes are stopped and continued."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from service.client.client import Client
from service.run.state import LOST_AFTER_SECONDS
from tests.api.harness.serving import Server, serving
from tests.e2e.tiny_run import TinyRun

HOUR = 3600

SHIFTED_CLOCK = '''
"""Lets `time.time` run ahead by the seconds in a file, as after a clock was set."""
import os
import pathlib
import time

_true, _path = time.time, pathlib.Path(os.environ["TEST_CLOCK"])
time.time = lambda: _true() + float(_path.read_text() or 0)
'''


class Clock:
    """The clock of processes that are started within `shifting`; it can be set while they run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)

    def set(self, ahead_seconds: float) -> None:
        self._path.with_suffix(".new").write_text(str(ahead_seconds))
        self._path.with_suffix(".new").replace(self._path)

    @contextmanager
    def shifting(self, folder: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PYTHONPATH", str(folder))
            environment.setenv("TEST_CLOCK", str(self._path))
            yield


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    folder = tmp_path / "shift"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    return folder


def test_no_clock_that_is_set_makes_a_run_lost_or_begins_an_alert(
    unserved_run: TinyRun, shift: Path, tmp_path: Path
) -> None:
    run, clocks = unserved_run, {name: Clock(tmp_path / f"clock of {name}") for name in ("api", "trainer")}
    run.validation_gate.touch()
    with clocks["trainer"].shifting(shift):
        run.start(ALERT_RECORD_SECONDS=1800)
    with clocks["api"].shifting(shift), serving(run.root) as server, Client(server.url) as client:
        run.url = server.url
        run.wait_for_step(client, 5)
        client.alerts()
        for name, ahead in (("api", HOUR), ("trainer", HOUR), ("trainer", 0), ("api", -HOUR), ("trainer", -2 * HOUR)):
            clocks[name].set(ahead)
            for state in states_until(client, client.state()["step_live"] + 20):
                assert state["run_state"] == "running", (name, ahead)
                assert 0 <= state["age_seconds"] < LOST_AFTER_SECONDS
                assert 0 <= state["progress_age_seconds"] < LOST_AFTER_SECONDS
                assert client.alerts()["alerts"] == [], (name, ahead)
            assert requests.get(f"{server.url}/readyz", timeout=20).status_code == 200
            assert client.wait(client.submit("validate")["id"], timeout_seconds=60)["state"] == "done"
    assert run.events("alert") == []
    assert run.events("stalled") == []


def states_until(client: Client, step: int, seconds: float = 60) -> Iterator[dict[str, Any]]:
    """Yield the states of a run until it has made this step, for at least some heartbeats."""
    begun = time.monotonic()
    while True:
        yield (state := client.state())
        passed = time.monotonic() - begun
        if passed > 3 and state["step_live"] >= step:
            return
        assert passed < seconds, state
        time.sleep(0.1)


def test_the_watchdog_calls_no_rank_stalled_after_ranks_were_stopped_and_continued(run: TinyRun) -> None:
    run.validation_gate.touch()
    run.start(STALL_SECONDS=2)
    with run.client() as client:
        run.wait_for_step(client, 10)
        ranks = [rank["pid"] for rank in client.ranks()["ranks"]]
        for pids in (ranks, ranks[:1]):
            step = client.state()["step_live"]
            stop_for(6, pids)
            run.wait_for_step(client, step + 20)
            assert run.events("stalled") == []


def test_a_machine_on_which_all_was_stopped_goes_on_as_if_nothing_had_been(unserved_run: TinyRun) -> None:
    """As a container that was frozen."""
    run = unserved_run
    run.validation_gate.touch()
    run.start(STALL_SECONDS=2)
    with serving(run.root) as server, Client(server.url) as client:
        run.url = server.url
        run.wait_for_step(client, 10)
        step = client.state()["step_live"]

        stop_for(LOST_AFTER_SECONDS + 2, everything(run, server))

        for state in states_until(client, step + 20):
            assert state["run_state"] == "running"
    assert run.events("stalled") == []
    assert run.events("alert") == []


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, since the paths of sockets may not be long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


def test_what_killed_ranks_left_in_the_temporary_folder_is_removed_at_the_next_start(
    unserved_run: TinyRun, folder: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """As the sockets over which loader processes hand samples over."""
    run = unserved_run
    monkeypatch.setenv("TMPDIR", str(folder))
    run.validation_gate.touch()
    run.start(NUM_WORKERS=2)
    with serving(run.root) as server, Client(server.url) as client:
        run.url = server.url
        run.wait_for_step(client, 10)
        run.kill_all()
        left = set(sockets(folder))
        assert left
        run.start("--resume", NUM_WORKERS=2)
        eventually(lambda: sockets(folder) and left.isdisjoint(sockets(folder)), seconds=60, what="the removal")
        run.wait_for_step(client, 20)
        client.submit("stop")
        assert run.processes[-1].wait(timeout=60) == 0, run.output()
    assert sockets(folder) == []


def sockets(folder: Path) -> list[Path]:
    """The sockets that are there now; folders may vanish meanwhile, which `os.walk` passes over."""
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return [path for path in paths if path.is_socket()]


def everything(run: TinyRun, server: Server) -> list[int]:
    roots = [psutil.Process(process.pid) for process in (run.processes[-1], server.process)]
    return [process.pid for root in roots for process in (root, *root.children(recursive=True))]


def stop_for(seconds: float, pids: Sequence[int | None]) -> None:
    known = [pid for pid in pids if pid is not None]
    for pid in known:
        os.kill(pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    while time.monotonic() < stopped_at + seconds:
        time.sleep(0.1)
    for pid in known:
        os.kill(pid, signal.SIGCONT)

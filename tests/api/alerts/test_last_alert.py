"""The alert of a training that dies under `leitstand up`, which ends its API with the training: it is sent before."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.alerts.receivers import receiver_ids
from service.config.settings import RunConfig
from service.config.source import SettingsSource
from service.launcher.processes import Timing
from service.launcher.programs import Program, api_program
from service.launcher.supervisor import LaunchPlan, Supervisor
from service.run.state import RunState
from service.store.store import Store
from tests.service.harness.stand_in import Answer, StandIn, free_port, serving

DIES = """
import os, sys, time, urllib.request
from pathlib import Path
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.store.store import Store
root, url, ending = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
RunDirectory(root).write_identity(RunIdentity("run-1"))
store = Store(root / "leitstand.db", create=True)
store.open_run("run-1", {})
store.runs.update("run-1", state="running", step=7)
while True:
    try:
        urllib.request.urlopen(url + "livez", timeout=5)
        break
    except OSError:
        time.sleep(0.05)
if ending == "killed":
    os.kill(os.getpid(), 9)
store.runs.update("run-1", state=ending, reason="a reason of its own")
sys.exit({"failed": 1, "stopped": 143, "finished": 0}[ending])
"""
"""A trainer that makes some steps, waits for the API, and ends as it is told."""


@pytest.fixture
def hook() -> Iterator[StandIn]:
    stand_in = StandIn()
    stand_in.on("POST", "/hook", Answer({}))
    with serving(stand_in):
        yield stand_in


def supervise(root: Path, ending: str, address: str, delivery_seconds: float = 60.0) -> tuple[int, list[str]]:
    """`leitstand up` with that trainer and a real API; returns the exit code and what was said."""
    port, lines = free_port(), list[str]()
    source = SettingsSource(None, (f"DATA_ROOT={root}", f"API_PORT={port}"))
    environment = {**os.environ, "WEBHOOK_URL": address}
    url = f"http://127.0.0.1:{port}/"
    plan = LaunchPlan(
        trainer=Program((sys.executable, "-c", DIES, str(root), url, ending), environment),
        api=api_program(source, environment),
        preparation=None,
        store=root / "leitstand.db",
        log=root / "training.log",
        url=url,
        actor="eva",
        serve_on=False,
        receivers=receiver_ids(RunConfig(webhook_url=address)),
    )
    silent, other_end = os.pipe()
    try:
        timing = Timing(delivery_seconds=delivery_seconds, tick_seconds=0.05)
        return Supervisor(plan, lines.append, keyboard=silent, timing=timing).run(), lines
    finally:
        os.close(silent)
        os.close(other_end)


def state_of(root: Path) -> RunState:
    with closing(Store(root / "leitstand.db")) as store:
        run = store.runs.get("run-1")
    assert run is not None
    return run.state


@pytest.mark.parametrize(
    ("ending", "reason"), [("killed", "the trainer was ended by SIGKILL"), ("failed", "a reason of its own")]
)
def test_the_end_of_a_training_that_died_is_sent(tmp_path: Path, hook: StandIn, ending: str, reason: str) -> None:
    code, _ = supervise(tmp_path, ending, f"{hook.url}/hook")

    assert code == 1
    assert state_of(tmp_path) is RunState.FAILED
    (request,) = hook.requests
    told = json.loads(request.body)
    assert (told["name"], told["is_on"]) == ("failed", True)
    assert told["sentence"] == f"The training failed at step 7: {reason}"


@pytest.mark.parametrize(("ending", "code"), [("stopped", 143), ("finished", 0)])
def test_a_training_that_ended_well_is_not_waited_for(tmp_path: Path, hook: StandIn, ending: str, code: int) -> None:
    assert supervise(tmp_path, ending, f"{hook.url}/hook", delivery_seconds=1e6)[0] == code

    assert hook.requests == []
    assert state_of(tmp_path) is RunState(ending)


def test_a_receiver_that_is_away_is_not_waited_for_long(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/"

    assert supervise(tmp_path, "killed", address, delivery_seconds=0.5)[0] == 1

    assert state_of(tmp_path) is RunState.FAILED

"""What people do to the API at its worst, beside a real training: crowds, a locked store, a death, a clock set back."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from service.client.client import Client
from tests.api.harness.serving import Server, serving
from tests.e2e.tiny_run import TinyRun
from tests.e2e.traffic import traffic
from tests.service.harness.locked import locked

Eventually = Callable[..., None]
MANY = {"API_READS_PER_MINUTE": "1000000", "API_COMMANDS_PER_MINUTE": "1000000"}

SHIFTED_CLOCK = '''
"""Lets `time.time` run behind by the seconds in a file, as after a clock was set back."""
import os
import pathlib
import time

_true, _path = time.time, pathlib.Path(os.environ["TEST_CLOCK"])
time.time = lambda: _true() - float(_path.read_text() or 0)
'''


def test_a_crowd_with_open_streams_gets_answers_and_the_training_goes_on(unserved_run: TinyRun) -> None:
    run = unserved_run
    run.validation_gate.touch()
    run.start()
    with serving(run.root, **MANY) as server, Client(server.url) as client:
        run.url = server.url
        run.wait_for_step(client, 10)
        before = client.state()["step_live"]

        tally = traffic(server.url, clients=64, streams=32, seconds=3)

        assert tally.failures == []
        assert tally.statuses.keys() == {200}
        assert tally.events >= 32  # every stream said at least what the state is
        assert requests.get(f"{server.url}/livez", timeout=20).ok
        run.wait_for_step(client, before + 5)
        assert run.command_ids() == set()  # a dry run queues nothing


def test_a_store_that_is_locked_for_long_loses_nothing(run: TinyRun, eventually: Eventually) -> None:
    run.validation_gate.touch()
    run.start()
    with run.client() as client:
        run.wait_for_step(client, 10)
        with locked(run.root / "leitstand.db"):
            until = time.monotonic() + 10
            step, answers = client.state()["step_live"], []
            while time.monotonic() < until:
                answers.append(requests.post(f"{run.url}/checkpoint", timeout=20))
                assert requests.get(f"{run.url}/state", timeout=20).ok
                assert requests.get(f"{run.url}/statistics", timeout=20).ok
        assert {answer.status_code for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        eventually(lambda: client.state()["step_live"] > step, what="the training's steps")

        command = client.wait(client.submit("validate")["id"], timeout_seconds=60)

        assert command["state"] == "done"
        assert run.command_ids() == {command["id"]}  # what was refused was not queued after all
        steps = [point.step for point in run.store().series.find(command["run_id"])]
        assert set(range(5, command["step"] or 0, 5)) <= set(steps)  # LOG_EVERY is 5: no log point is missing


def test_after_a_death_between_post_and_answer_the_key_finds_the_command(
    unserved_run: TinyRun, eventually: Eventually
) -> None:
    run = unserved_run
    run.validation_gate.touch()
    run.start()
    with serving(run.root) as first, Client(first.url) as client:
        run.url = first.url
        run.wait_for_step(client, 2)
        asked = {"url": f"{first.url}/checkpoint", "params": {"apply_at_step": 10**6, "wait": 60}}
        key = {"Idempotency-Key": "from-a-script"}
        failures: list[Exception] = []

        def ask() -> None:
            try:
                requests.post(**asked, headers=key, timeout=60)
            except requests.RequestException as error:
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        eventually(run.command_ids, what="the command")
        kill_whole(first)
        thread.join()
        assert failures  # the client never learnt of its command

    with serving(run.root, at_port=first.port):
        again = requests.post(asked["url"], params={"apply_at_step": 10**6}, headers=key, timeout=20)
        other = requests.post(asked["url"], params={"apply_at_step": 900_000}, headers=key, timeout=20)

    assert again.status_code == 202
    assert run.command_ids() == {again.json()["id"]}
    assert other.status_code == 422


def test_a_clock_that_is_set_back_harms_nothing(
    unserved_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    run, clock = unserved_run, tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "shifted").mkdir()
    (tmp_path / "shifted" / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shifted"))
    monkeypatch.setenv("TEST_CLOCK", str(clock))
    run.validation_gate.touch()
    run.start()
    with serving(run.root) as server, Client(server.url) as client:
        run.url = server.url
        run.wait_for_step(client, 5)
        before = client.wait(client.submit("validate")["id"], timeout_seconds=60)
        with requests.get(f"{server.url}/events?kinds=command", stream=True, timeout=30) as stream:
            clock.write_text("3600")

            after = client.wait(client.submit("validate", expires_in=30)["id"], timeout_seconds=60)

            assert after["state"] == "done"
            assert after["created_at"] < before["created_at"] - 3000
            assert any(after["id"].encode() in line for line in stream.iter_lines(chunk_size=1))
        listed = requests.get(f"{server.url}/commands", timeout=20).json()["commands"]
        assert [command["id"] for command in listed] == [after["id"], before["id"]]  # newest first by acceptance
        state = client.state()
        assert state["run_state"] == "running"
        assert state["age_seconds"] >= 0
        assert state["progress_age_seconds"] >= 0
        step = state["step_live"]
        eventually(lambda: client.state()["step_live"] > step, what="steps after the clock was set back")


def kill_whole(server: Server) -> None:
    """Kill gunicorn and its worker at once, as a power cut would."""
    master = psutil.Process(server.process.pid)
    everything = [master, *master.children(recursive=True)]  # in this order: a living master starts another worker
    for process in everything:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(everything, timeout=10)

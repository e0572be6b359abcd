"""Real ranks whose run directory is moved or deleted: the run goes on in a new one, or says that it cannot."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from api.app import create_app
from service.commands import Kind
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.state import RunState
from service.store.store import Store
from tests.api.harness.serving import Server, serving
from tests.ddp.harness.training import Eventually, Training
from tests.service.harness import stand_in
from tests.service.harness.stand_in import StandIn

Train = Callable[..., Training]
ENDLESS = {"MAX_STEPS": 10**6, "VAL_STEP_EVERY": 10**6, "CHECKPOINT_EVERY": 10**6}


@pytest.fixture
def hook() -> Iterator[StandIn]:
    """A receiver of alerts at /hook."""
    receiver = StandIn()
    receiver.on("POST", "/hook", stand_in.Answer({}))
    with stand_in.serving(receiver):
        yield receiver


def shown(server: Server, path: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{server.url}{path}", timeout=20).json()
    return found


def answer(client: FlaskClient, path: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(path).get_json()
    return found


def empty(folder: Path) -> None:
    """Delete what is in a folder, as `rm -rf` does, while others may write there."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("way", ["moved", "deleted", "emptied"])
def test_a_run_whose_directory_vanishes_goes_on_in_a_new_one_and_raises_an_alert(
    train: Train, tmp_path: Path, eventually: Eventually, hook: StandIn, way: str
) -> None:
    run = train(2, **ENDLESS)
    run.wait_for_step(10)
    run.ask(Kind.VALIDATE)
    run_id = RunDirectory(run.root).run_id()
    with serving(run.root, WEBHOOK_URL=f"{hook.url}/hook") as server:
        assert shown(server, "/state")["run_state"] == "running"
        if way == "emptied":
            empty(run.root)
        else:
            run.root.rename(tmp_path / "elsewhere")
        if way == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")

        saved = run.root / "checkpoints" / "latest" / "manifest.json"
        eventually(saved.exists, seconds=60, what="a checkpoint in a new folder")
        assert RunDirectory(run.root).run_id() == run_id
        eventually(lambda: shown(server, "/state").get("run_state") == "running", what="the run in the new store")
        eventually(lambda: shown(server, "/alerts").get("alerts"), what="the alert")
        check_alert(run, server, hook, eventually, "emptied" if way == "emptied" else "moved or deleted")
        (stopped,) = run.ask(Kind.STOP)
        assert run.end() == 0, run.output
        row = run.run()
        assert row is not None
        assert (row.id, row.state, row.step) == (run_id, RunState.STOPPED, stopped.step)
        if way == "moved":
            check_moved(tmp_path / "elsewhere")

        resumed = train(2, "--resume", output="resumed.txt", **{**ENDLESS, "MAX_STEPS": (stopped.step or 0) + 4})
        assert resumed.end() == 0, resumed.output
        assert resumed.events("started")[-1]["step"] == stopped.step
        assert shown(server, "/alerts")["alerts"] == []


def check_alert(run: Training, server: Server, hook: StandIn, eventually: Eventually, what: str) -> None:
    """The one alert is in the API, the metrics, the log and at the receiver, and says what happened."""
    (alert,) = shown(server, "/alerts")["alerts"]
    assert alert["name"] == "directory_lost"
    assert alert["sentence"].startswith(f"{run.root} was {what} while this run was trained")
    assert 'leitstand_alert{name="directory_lost"} 1.0' in requests.get(f"{server.url}/metrics", timeout=20).text
    assert alert["sentence"] in (run.root / "training.log").read_text()
    assert run.output.count("while this run was trained") == 1
    eventually(lambda: hook.requests, what="the webhook")
    received = json.loads(hook.requests[0].body)
    assert (received["name"], received["is_on"], received["sentence"]) == ("directory_lost", True, alert["sentence"])


def check_moved(elsewhere: Path) -> None:
    """What was moved is as it was."""
    store = Store(elsewhere / "leitstand.db")
    row = store.runs.latest()
    assert row is not None
    assert row.state is RunState.RUNNING
    assert store.series.span(row.id) is not None
    assert list(elsewhere.glob("Statistik_*.json"))


def test_a_run_in_a_shared_store_loses_nothing_there_with_its_directory(
    train: Train, tmp_path: Path, store_url: str, eventually: Eventually
) -> None:
    run = train(2, STORE_URL=store_url, **ENDLESS)
    with closing(Store(store_url)) as run.store:
        run.wait_for_step(5)
        run.ask(Kind.VALIDATE)
        row = run.run()
        assert row is not None
        eventually(lambda: run.store.records.count(row.id) == 1, what="the copy of the record")
        with serving(run.root, STORE_URL=store_url) as server:
            assert shown(server, "/state")["run_state"] == "running"
            run.root.rename(tmp_path / "elsewhere")
            shutil.rmtree(tmp_path / "elsewhere")

            eventually(lambda: shown(server, "/alerts").get("alerts"), what="the alert")
            assert [alert["name"] for alert in shown(server, "/alerts")["alerts"]] == ["directory_lost"]
            saved = run.root / "checkpoints" / "latest" / "manifest.json"
            eventually(saved.exists, seconds=60, what="a checkpoint in a new folder")
            state = shown(server, "/state")
            assert (state["run_id"], state["run_state"]) == (row.id, "running")
        run.ask(Kind.STOP)
        assert run.end() == 0, run.output
        assert RunDirectory(run.root).run_id() == row.id
        assert run.store.records.count(row.id) == 1


def test_a_run_whose_directory_cannot_be_made_again_ends_without_its_last_state(
    train: Train, tmp_path: Path, eventually: Eventually
) -> None:
    run = train(2, root="disk/run", LAST_SAVE_SECONDS=0, **ENDLESS)
    run.wait_for_step(5)
    client = create_app(RunConfig(data_root=run.root)).test_client()
    assert answer(client, "/state")["run_state"] == "running"
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    (tmp_path / "disk").touch()  # no folder can be made here

    eventually(lambda: "run.json cannot be written" in run.output, what="the log")
    eventually(lambda: answer(client, "/state")["run_state"] == "lost", what="the state")
    assert "is gone" in answer(client, "/state")["run_reason"]
    os.kill(run.ranks()[0].pid, signal.SIGTERM)
    assert run.end() != 0

    assert "exitcode  : 74" in run.output
    assert "but the last state is not on disk" in run.output
    assert run.output.count("run.json cannot be written") == 1

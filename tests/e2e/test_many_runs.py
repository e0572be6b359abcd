"""Two trainings that report into one PostgreSQL, and one control room that has only one of their directories.

The tests run in their order on the same two trainings: starting them is what costs time.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from service.client.client import ApiError, Client
from service.run.directory import RunDirectory
from service.run.record import list_records
from tests.api.harness.serving import serving
from tests.ddp.harness.launching import settings, torchrun, write_pair
from tests.harness.descendants import kill_family
from tests.harness.forked import StartPython
from tests.postgres import PostgresService

Eventually = Callable[..., None]

LOG_EVERY, VALIDATE_EVERY = 5, 50
RARE = 10**6


class Trainee:
    """One training with its own run directory."""

    def __init__(self, root: Path, dataset: Path, store_url: str, start_python: StartPython) -> None:
        self.root = root
        self._output = root.parent / "output.txt"
        root.parent.mkdir()
        rhythm = {"MAX_STEPS": RARE, "LOG_EVERY": LOG_EVERY, "VAL_STEP_EVERY": VALIDATE_EVERY, "CHECKPOINT_EVERY": RARE}
        chosen = settings(DATASET_ROOT=dataset, DATA_ROOT=root, PATCH_SIZE=8, SAVE_BEST="false", **rhythm)
        environment = {"OMP_NUM_THREADS": "1", "STORE_URL": store_url}
        with self._output.open("w") as file:
            self.process = start_python(
                torchrun(1, "-m", "ddp", *chosen), stdout=file, stderr=subprocess.STDOUT,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip

    @property
    def run_id(self) -> str:
        run_id = RunDirectory(self.root).run_id()
        assert run_id is not None
        return run_id

    def last_record_step(self) -> int:
        """How far the training is, without asking any store."""
        assert self.process.poll() is None, self.output()
        return max((step for step, _ in list_records(self.root)), default=0)

    def output(self) -> str:
        return self._output.read_text()

    def kill(self) -> None:
        kill_family(self.process)


@dataclass
class Fleet:
    """The control room's address, and two trainings: one whose directory it has, one elsewhere."""

    url: str
    here: Trainee
    elsewhere: Trainee
    postgres: PostgresService

    @property
    def trainees(self) -> tuple[Trainee, Trainee]:
        return (self.here, self.elsewhere)

    def client(self, trainee: Trainee) -> Client:
        return Client(self.url, run=trainee.run_id, actor="tester")

    def get(self, path: str, trainee: Trainee | None = None, **options: Any) -> requests.Response:
        below = "" if trainee is None else f"/runs/{trainee.run_id}"
        return requests.get(f"{self.url}{below}{path}", timeout=30, **options)

    def step(self, trainee: Trainee) -> int:
        """The newest step that the API knows, -1 while it knows none."""
        answer = self.get("/state", trainee)
        return int(answer.json()["step_live"]) if answer.status_code == 200 else -1


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresService,
    start_python: StartPython,
    eventually: Eventually,
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    dataset = folder / "data"
    for index in range(4):
        write_pair(dataset / "Patches", f"train_{index}", 36, 36, seed=index)
    write_pair(dataset / "Val", "val", 36, 36, seed=100)
    postgres.start()
    store_url = postgres.new_database()
    with ExitStack() as running:
        running.callback(postgres.drop_database, store_url)
        running.callback(postgres.start)
        here = Trainee(folder / "here" / "one", dataset, store_url, start_python)
        running.callback(here.kill)
        elsewhere = Trainee(folder / "elsewhere" / "two", dataset, store_url, start_python)
        running.callback(elsewhere.kill)
        roots = str(folder / "here")
        server = running.enter_context(serving(folder / "no data root", RUN_ROOTS=roots, STORE_URL=store_url))
        fleet = Fleet(server.url, here, elsewhere, postgres)
        eventually(lambda: _are_at_work(fleet), seconds=120, what="both trainings in the list, at work")
        yield fleet


def _are_at_work(fleet: Fleet) -> bool:
    for trainee in fleet.trainees:
        assert trainee.process.poll() is None, trainee.output()
    answer = fleet.get("/runs")
    entries = answer.json()["runs"] if answer.status_code == 200 else []
    return len(entries) == 2 and all(entry["run_state"] == "running" and entry["step"] > 0 for entry in entries)


def test_both_runs_are_listed_the_one_elsewhere_without_a_directory(fleet: Fleet) -> None:
    listed = fleet.get("/runs").json()

    assert {entry["run_id"]: entry["directory"] for entry in listed["runs"]} == {
        fleet.here.run_id: str(fleet.here.root),
        fleet.elsewhere.run_id: None,
    }
    assert listed["skipped"] == []
    newest = listed["runs"][0]
    assert [entry["is_default"] for entry in listed["runs"]] == [True, False]
    assert fleet.get("/state").json()["run_id"] == newest["run_id"]


@pytest.mark.parametrize(
    "path", ["/state", "/settings", "/series", "/series?points=10", "/commands", "/ranks", "/metrics", "/statistics"]
)
def test_every_route_answers_for_both(fleet: Fleet, path: str) -> None:
    for trainee in fleet.trainees:
        answer = fleet.get(path, trainee)
        assert answer.status_code == 200, answer.text
        assert path in {"/settings", "/commands", "/metrics", "/statistics"} or trainee.run_id in answer.text
        assert fleet.postgres.url("x").split("@")[0] not in answer.text


def test_settings_hide_the_stores_password(fleet: Fleet) -> None:
    for trainee in fleet.trainees:
        assert fleet.get("/settings", trainee).json()["settings"]["STORE_URL"] == "(set)"
        assert "(set)" in (trainee.root / "config.json").read_text()


def test_each_run_obeys_its_own_commands(fleet: Fleet) -> None:
    for number, trainee in enumerate(fleet.trainees):
        with fleet.client(trainee) as client:
            validated = client.carry_out("validate", timeout_seconds=60, idempotency_key=f"validation-{number}")
            changed = client.carry_out("set", {"LR_SCALE": 0.5 + number}, timeout_seconds=60)
            again = client.submit("validate", idempotency_key=f"validation-{number}")
            commands = list(client.commands())
            scale = client.settings()["settings"]["LR_SCALE"]
        assert (validated["state"], changed["state"], again["id"]) == ("done", "done", validated["id"])
        assert (trainee.root / (validated["result"] or {})["record"]).is_file()
        assert [command["id"] for command in commands] == [changed["id"], validated["id"]]
        assert {command["run_id"] for command in commands} == {trainee.run_id}
        assert scale == 0.5 + number


def test_records_are_served_byte_for_byte_wherever_they_lie(fleet: Fleet, eventually: Eventually) -> None:
    for trainee in fleet.trainees:
        eventually(lambda trainee=trainee: len(list_records(trainee.root)) >= 2, what="two records")
        step, path = list_records(trainee.root)[0]
        content = path.read_bytes()
        answer = fleet.get(f"/statistics/{path.name}", trainee)
        assert answer.content == content
        assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
        assert step in {entry["step"] for entry in fleet.get("/statistics", trainee).json()["records"]}
        part = fleet.get(f"/statistics/{path.name}", trainee, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, content[10:20])


def test_a_rollback_elsewhere_is_left_to_the_trainer(fleet: Fleet) -> None:
    with fleet.client(fleet.elsewhere) as client:
        saved = client.carry_out("checkpoint", timeout_seconds=60)
        impossible = client.carry_out("rollback", {"checkpoint": "7"}, timeout_seconds=60)
        done = client.carry_out("rollback", {"checkpoint": "latest"}, timeout_seconds=60)
    with fleet.client(fleet.here) as client, pytest.raises(ApiError) as refused:
        client.submit("rollback", {"checkpoint": "7"})

    assert (saved["state"], impossible["state"], done["state"]) == ("done", "rejected", "done")
    assert impossible["reason"]
    assert (done["result"] or {})["checkpoint"] == (saved["result"] or {})["checkpoint"]
    assert refused.value.status == 422


def test_without_its_database_the_trainings_go_on_and_nothing_is_lost(fleet: Fleet, eventually: Eventually) -> None:
    asked = {}
    for trainee in fleet.trainees:
        with fleet.client(trainee) as client:
            asked[trainee.run_id] = client.submit("validate")["id"]
    fleet.postgres.kill()
    steps = {trainee.run_id: trainee.last_record_step() for trainee in fleet.trainees}

    for trainee in fleet.trainees:
        eventually(
            lambda trainee=trainee: trainee.last_record_step() >= steps[trainee.run_id] + 2 * VALIDATE_EVERY,
            seconds=60, what="steps without a database",
        )  # fmt: skip
        for path in ("/state", "/commands", "/settings", "/series"):
            answer = fleet.get(path, trainee)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable")
        refused = requests.post(f"{fleet.url}/runs/{trainee.run_id}/pause", timeout=30)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/storage-unavailable")
    assert fleet.get("/runs").status_code == 503
    assert fleet.get("/livez").status_code == 200
    assert fleet.get("/statistics/latest", fleet.here).status_code == 200  # from its file
    reached = {trainee.run_id: trainee.last_record_step() for trainee in fleet.trainees}
    fleet.postgres.start()

    for trainee in fleet.trainees:
        eventually(lambda trainee=trainee: fleet.step(trainee) > reached[trainee.run_id], what="the API shows steps")
        with fleet.client(trainee) as client:
            assert client.wait(asked[trainee.run_id], timeout_seconds=60)["state"] == "done"
            assert client.carry_out("pause", timeout_seconds=60)["state"] == "done"
        check_completeness(fleet, trainee)


def check_completeness(fleet: Fleet, trainee: Trainee) -> None:
    """A training that pauses has told everything: all its records and all its log points are in the store."""
    series = fleet.get("/series?names=total_loss_value", trainee).json()
    records = fleet.get("/statistics", trainee).json()
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for _, path in list_records(trainee.root)}
    logged = [step for step in series["steps"] if step % LOG_EVERY == 0]

    assert logged == list(range(LOG_EVERY, logged[-1] + 1, LOG_EVERY))
    assert {entry["name"]: entry["sha256"] for entry in records["records"]} == files


def test_both_end_by_a_command_and_stay_to_be_seen(fleet: Fleet, eventually: Eventually) -> None:
    for trainee in fleet.trainees:
        with fleet.client(trainee) as client:
            assert client.submit("stop")["run_id"] == trainee.run_id
    for trainee in fleet.trainees:
        assert trainee.process.wait(timeout=60) == 0, trainee.output()

    assert {entry["run_state"] for entry in fleet.get("/runs").json()["runs"]} == {"stopped"}
    with fleet.client(fleet.elsewhere) as client, pytest.raises(ApiError) as refused:
        client.submit("validate")
    assert refused.value.status == 409

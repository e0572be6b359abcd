"""What the worked examples of docs/contributing.md are for: tests for a copy in which they were followed."""

from collections.abc import Iterator
from dataclasses import asdict
from operator import methodcaller
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from api.app import create_app
from ddp.step.progress import Progress
from ddp.training.boundary import StepBoundary
from service.cli import leitstand
from service.commands import CommandBits, CommandState, Kind
from service.config.settings import RunConfig
from service.store.store import Store
from tests.api.harness.example_run import RUN_ID, write_run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = write_run(tmp_path, age_seconds=-3600.0)  # alive for as long as the tests take
    yield store
    store.close()


@pytest.fixture
def client(tmp_path: Path, store: Store) -> FlaskClient:
    return create_app(RunConfig(data_root=tmp_path)).test_client()


def test_the_metric_has_the_value_of_the_snapshot(client: FlaskClient) -> None:
    gain = client.get("/state").get_json()["quality_improvement_value"]

    assert f"leitstand_validation_gain_ratio {gain}\n" in client.get("/metrics").get_data(as_text=True)


def test_the_record_key_is_measured_and_shown(client: FlaskClient) -> None:
    assert Progress().report(RunConfig(batch_size=4), 100, 2)["samples_per_step"] == 8
    assert client.get("/state").get_json()["samples_per_step"] == 8
    assert client.get("/series?names=samples_per_step").status_code == 200


@pytest.mark.parametrize("below", ["", f"/runs/{RUN_ID}"])
def test_the_route_answers_for_the_default_run_and_for_any(client: FlaskClient, below: str) -> None:
    assert client.get(f"{below}/branch").get_json() == {"run_id": RUN_ID, "branch_id": 0}


def test_the_setting_has_a_default_and_can_change_while_a_run_goes_on(client: FlaskClient) -> None:
    assert asdict(RunConfig())["rollback_factor"] == 0.5
    assert client.patch("/settings", json={"ROLLBACK_FACTOR": 0.25}).status_code == 202
    assert client.patch("/settings", json={"ROLLBACK_FACTOR": 2}).status_code == 422


def test_the_command_is_queued_and_has_a_bit_and_a_line(client: FlaskClient, store: Store) -> None:
    assert client.post("/measure").status_code == 202

    (queued,) = store.commands.find(RUN_ID)
    assert (queued.kind, queued.state) == (Kind("measure"), CommandState.QUEUED)
    assert CommandBits.of(queued.kind) not in CommandBits.LEAVE


def test_the_command_makes_a_log_point() -> None:
    metrics, unused = LogPoints(), cast(Any, None)

    methodcaller("measure")(StepBoundary(unused, unused, unused, cast(Any, metrics), unused, unused, unused))

    assert metrics.made == 1


class LogPoints:
    """Counts the log points that are asked for."""

    made = 0

    def log_point(self) -> None:
        self.made += 1


@pytest.mark.parametrize("name", ["branch", "measure"])
def test_the_command_line_has_it(name: str) -> None:
    assert CliRunner().invoke(leitstand, [name, "--help"]).exit_code == 0

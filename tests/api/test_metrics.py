"""GET /metrics and the health routes."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.metric_table import METRICS
from service.commands import CommandState, Kind
from service.run_state import RunState
from service.store import Store
from tests.api.example_run import LAST_STEP, RUN_ID, example_record, write_run


def scrape(client: FlaskClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """{(name, values of the labels): value}"""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_a_living_run_gives_every_metric(client: FlaskClient, store: Store) -> None:
    assert {name for name, _ in scrape(client)} == {row.name for row in METRICS}


def test_the_values_are_those_of_the_store_in_base_units(client: FlaskClient, store: Store) -> None:
    store.update_run(RUN_ID, step=4237)
    values = scrape(client)

    record = example_record(LAST_STEP, 0.0)
    assert values["leitstand_train_steps_total", ()] == 4237
    assert values["leitstand_train_samples_total", ()] == record["samples_seen"]
    assert values["leitstand_train_loss", ("gradient",)] == record["gradient_loss_value"]
    assert values["leitstand_train_loss_weight", ("ms",)] == 0.2
    assert values["leitstand_validation_quality_ratio", ("ki",)] == record["quality_ki_value"]
    assert values["leitstand_validation_psnr_db", ("lr",)] == record["psnr_lr_db"]
    assert values["leitstand_rank_memory_bytes", ("1",)] == record["per_rank"][1]["memory"] * 1024**3
    assert values["leitstand_rank_step_seconds", ("0",)] == 0.208
    assert values["leitstand_records_total", ()] == 6
    assert values["leitstand_run_info", (RUN_ID,)] == 1
    assert abs(values["leitstand_heartbeat_timestamp_seconds", ()] - time.time()) < 60


@pytest.mark.parametrize(
    ("written", "age_seconds", "expected"),
    [(RunState.PAUSED, 0, "paused"), (RunState.RUNNING, 30, "lost"), (RunState.FAILED, 30, "failed")],
)
def test_exactly_the_present_state_is_one(
    client: FlaskClient, root: Path, written: RunState, age_seconds: float, expected: str
) -> None:
    write_run(root, state=written, age_seconds=age_seconds).close()

    states = {labels[0]: value for (name, labels), value in scrape(client).items() if name == "leitstand_run_state"}

    assert states == {state.value: float(state == expected) for state in RunState}


def test_a_command_is_counted_once_it_has_ended(client: FlaskClient, store: Store) -> None:
    done = store.submit(RUN_ID, Kind.VALIDATE, {}, actor="a", source="api")
    store.submit(RUN_ID, Kind.VALIDATE, {}, actor="a", source="api")
    store.finish_command(done.id, CommandState.DONE)

    counts = {labels: value for (name, labels), value in scrape(client).items() if name == "leitstand_commands_total"}

    assert {labels for labels, value in counts.items() if value} == {("validate", "done")}
    assert counts["validate", "done"] == 1
    assert counts["stop", "failed"] == 0


def test_a_value_that_is_not_known_is_left_out(client: FlaskClient, store: Store) -> None:
    store.update_run(RUN_ID, snapshot=example_record(4200, 1.0, quality_ki_value=None, grad_norm=None))
    values = scrape(client)

    assert ("leitstand_train_grad_norm", ()) not in values
    assert ("leitstand_validation_quality_ratio", ("ki",)) not in values
    assert ("leitstand_validation_quality_ratio", ("lr",)) in values


def test_without_a_run_a_scrape_succeeds_and_no_state_is_one(client: FlaskClient) -> None:
    values = scrape(client)

    assert {name for name, _ in values} == {"leitstand_build_info", "leitstand_run_state", "leitstand_records_total"}
    assert not any(value for (name, _), value in values.items() if name == "leitstand_run_state")


def test_a_store_that_cannot_be_read_fails_the_scrape(client: FlaskClient, root: Path) -> None:
    root.mkdir()
    (root / "leitstand.db").write_bytes(b"rubbish" * 500)

    assert client.get("/metrics").status_code == 503


def test_openmetrics_is_spoken_to_those_who_ask_for_it(client: FlaskClient, store: Store) -> None:
    plain = client.get("/metrics")
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert plain.mimetype == "text/plain"
    assert answer.mimetype == "application/openmetrics-text"
    assert answer.text.endswith("# EOF\n")
    assert "leitstand_train_steps_total 4200.0" in answer.text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say_about_the_metrics(client: FlaskClient, store: Store) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=client.get("/metrics").text, capture_output=True, text=True, timeout=60
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_process_is_alive_whatever_the_trainer_does(client: FlaskClient) -> None:
    assert (client.get("/livez").status_code, client.get("/livez").get_json()) == (200, {"alive": True})


def test_ready_means_that_a_command_could_be_obeyed(client: FlaskClient, root: Path) -> None:
    assert client.get("/readyz").status_code == 503
    store = write_run(root)
    assert (client.get("/readyz").status_code, client.get("/readyz").get_json()) == (200, {"ready": True})

    store.update_run(RUN_ID, heartbeat_at=time.time() - 60)
    assert client.get("/readyz").get_json()["type"] == "/problems/no-trainer"
    store.close()

"""GET /metrics and the health routes."""

import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from api.metrics.catalog import METRICS, RUN_METRICS
from service import __version__
from service.alerts.rules import NAMES
from service.commands import CommandState, Kind
from service.run.ledger.time_spent import Activity, TimeSpent
from service.run.state import RunState
from service.run.trainer_stats import TrainerStats
from service.store.queries.ranks import RankRow
from service.store.store import Store
from service.store.tables import commands
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import LAST_STEP, MAX_STEPS, RECORD_STEPS, RUN_ID, example_record, write_run

Eventually = Callable[..., None]
Samples = dict[tuple[str, tuple[str, ...]], float]
OF_THE_PROCESS = ("process_", "python_")
SPENT = TimeSpent(1.7e9, 1.7e9 + 100, 4200, 1.7e9 + 10, {**dict.fromkeys(Activity, 5.0), Activity.TRAINING: 75.0})
FACTS: TrainerStats = {
    "log_points_dropped": 3, "unsaved_records": 1, "waiting_writings": 2, "store_outages": 4, "stalls": 5,
    "checkpoint_step": 4000, "checkpoint_time": 1.7e9, "checkpoint_seconds": 0.75, "checkpoint_bytes": 2**20,
    "checkpoints_written": 7, "checkpoint_failures": 6, "viewer_events_dropped": 8, "disk_free_bytes": 9,
    "disk_bytes": 10, "time_spent": SPENT.as_dict(),
}  # fmt: skip


def families(client: FlaskClient, path: str = "/metrics") -> list[Metric]:
    return list(text_string_to_metric_families(client.get(path).text))


def scrape(client: FlaskClient, path: str = "/metrics") -> Samples:
    """{(name, values of the labels): value}"""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families(client, path)
        for sample in family.samples
    }


def of(samples: Samples, name: str) -> dict[tuple[str, ...], float]:
    """{values of the labels: value} of one metric."""
    return {labels: value for (found, labels), value in samples.items() if found == name}


def kinds(client: FlaskClient, path: str = "/metrics") -> dict[str, str]:
    """{name: type} of Leitstand's own metrics."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in families(client, path)
        if not family.name.startswith(OF_THE_PROCESS)
    }


def tell_everything(store: Store) -> None:
    """Let the run's store hold all that a trainer can tell."""
    now = time.time()
    store.runs.update(RUN_ID, facts=dict(FACTS), config={"PLATEAU_PATIENCE": 250})
    details = {"rank": 1, "how": "was ended by SIGKILL", "detected_at": now, "training_at": now, "source": "rank 0"}
    store.events.add(RUN_ID, LAST_STEP, "recovered", {**details, "steps_lost": 0})
    stages = ("all-reduce", "data")
    store.ranks.replace(
        RUN_ID,
        [
            RankRow(rank, now - rank, "gpu-07", 70 + rank, f"cuda:{rank}", stage, 4200 + rank, 2.0, None, None)
            for rank, stage in enumerate(stages)
        ],
    )


@on_both_databases
def test_a_living_run_gives_every_metric_with_its_type(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    client.get("/livez")

    assert kinds(client) == {row.name: row.kind for row in METRICS}
    assert len({row.name for row in METRICS}) == len(METRICS)


def test_below_runs_there_are_the_metrics_of_that_run_alone(client: FlaskClient, store: Store) -> None:
    tell_everything(store)

    assert kinds(client, f"/runs/{RUN_ID}/metrics").keys() == {row.name for row in RUN_METRICS}
    assert client.get("/runs/ffffffffffff/metrics").status_code == 404


def test_the_process_tells_of_itself_only_beside_the_default_run(client: FlaskClient, store: Store) -> None:
    assert of(scrape(client), "process_start_time_seconds")[()] < time.time()
    assert of(scrape(client), "process_resident_memory_bytes")[()] > 1e6
    assert not [name for name, _ in scrape(client, f"/runs/{RUN_ID}/metrics") if name.startswith(OF_THE_PROCESS)]


@on_both_databases
def test_the_values_are_those_of_the_store_in_base_units(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, step=4237)
    values = scrape(client)

    record = example_record(LAST_STEP, 0.0)
    assert values["leitstand_train_step", ()] == 4237
    assert values["leitstand_train_samples", ()] == record["samples_seen"]
    assert values["leitstand_train_loss", ("gradient",)] == record["gradient_loss_value"]
    assert values["leitstand_train_loss_weight", ("ms",)] == 0.2
    assert values["leitstand_validation_quality_ratio", ("ki",)] == record["quality_ki_value"]
    assert values["leitstand_validation_psnr_db", ("lr",)] == record["psnr_lr_db"]
    assert values["leitstand_rank_memory_bytes", ("1",)] == record["per_rank"][1]["memory"] * 1024**3
    assert values["leitstand_rank_step_seconds", ("0",)] == 0.208
    assert values["leitstand_records", ()] == 6
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


@on_both_databases
def test_what_the_trainer_tells_of_its_parts_is_shown(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    values = scrape(client)

    shown = {
        "leitstand_recorder_dropped_log_points_total": 3, "leitstand_recorder_unsaved_records": 1,
        "leitstand_recorder_waiting_writings": 2, "leitstand_recorder_store_outages_total": 4,
        "leitstand_stalls_total": 5, "leitstand_checkpoint_failures_total": 6, "leitstand_checkpoints_total": 7,
        "leitstand_tensorboard_dropped_events_total": 8, "leitstand_checkpoint_step": 4000,
        "leitstand_checkpoint_timestamp_seconds": 1.7e9, "leitstand_checkpoint_duration_seconds": 0.75,
        "leitstand_checkpoint_size_bytes": 2**20, "leitstand_train_nonfinite_steps": 2,
        "leitstand_adaptive_plateau_patience_steps": 250,
    }  # fmt: skip
    assert {name: values[name, ()] for name in shown} == shown


@on_both_databases
def test_what_the_time_went_to_and_what_went_wrong_is_shown(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    details = {"from_step": 4200, "checkpoint": "step_0004000", "reason": "a person asked for it", "began_at": 1.7e9}
    store.events.add(RUN_ID, 4000, "registered", {"began_at": SPENT.began_at, "restarts": 0, "previous": None})
    store.events.add(RUN_ID, 4200, "checkpoint", {"time_spent": SPENT.as_dict()})
    store.events.add(RUN_ID, 4000, "rollback", details)
    values = scrape(client)

    assert of(values, "leitstand_run_time_seconds")["validating",] == 5
    assert sum(of(values, "leitstand_run_time_seconds").values()) == pytest.approx(100)
    kept = of(values, "leitstand_run_time_seconds")["useful",]
    assert kept == pytest.approx(75 * 4000 / 4200, abs=0.001)
    assert values["leitstand_run_useful_time_ratio", ()] == pytest.approx(kept / 100)
    assert of(values, "leitstand_incidents") == {
        ("rank_killed",): 1, ("restart",): 0, ("machine_lost",): 0, ("trainer_down",): 0, ("stall",): 0,
        ("rollback",): 1,
    }  # fmt: skip
    assert values["leitstand_incident_steps_lost", ()] == 200
    assert values["leitstand_last_recovery_seconds", ()] > 0


@on_both_databases
def test_what_ranks_do_is_told_by_rank(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    store.runs.update(RUN_ID, snapshot=example_record(LAST_STEP, 1.0, slow_rank=1))
    values, now = scrape(client), time.time()

    assert of(values, "leitstand_rank_stage") == {("0", "all-reduce"): 1, ("1", "data"): 1}
    assert of(values, "leitstand_rank_step") == {("0",): 4200, ("1",): 4201}
    assert of(values, "leitstand_rank_slow") == {("0",): 0, ("1",): 1}
    assert of(values, "leitstand_rank_own_seconds") == {("0",): 0.08, ("1",): 0.08}
    heard, began = (of(values, f"leitstand_rank_{name}_timestamp_seconds")["1",] for name in ("heard", "stage_start"))
    assert now - 60 < heard < now
    assert heard - began == pytest.approx(2.0)


def test_words_are_sets_of_states(client: FlaskClient, store: Store) -> None:
    values = scrape(client)

    assert of(values, "leitstand_adaptive_mode") == {
        ("Warmup",): 0, ("Settling",): 0, ("Stable",): 1, ("Aggressive",): 0,
    }  # fmt: skip
    assert of(values, "leitstand_train_lr_phase") == {
        ("warmup",): 0, ("cosine",): 1, ("plateau_boost",): 0, ("manual",): 0,
    }  # fmt: skip


def test_the_time_left_follows_the_live_step(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, step=MAX_STEPS - 1000)
    assert scrape(client)["leitstand_train_eta_seconds", ()] == pytest.approx(210)
    store.runs.update(RUN_ID, step=MAX_STEPS)
    assert scrape(client)["leitstand_train_eta_seconds", ()] == 0


def test_the_patience_is_the_one_in_force(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    store.runs.update(RUN_ID, live={"changes": {"PLATEAU_PATIENCE": 400}, "replaced": {"PLATEAU_PATIENCE": 250}})

    assert scrape(client)["leitstand_adaptive_plateau_patience_steps", ()] == 400


def test_the_averaged_weights_are_a_picture_of_their_own(client: FlaskClient, store: Store) -> None:
    record = example_record(LAST_STEP, 0.0)
    values = scrape(client)

    assert of(values, "leitstand_validation_psnr_y_db") == {
        (picture,): record[f"psnr_y_{picture}_db"] for picture in ("ki", "lr", "ema")
    }
    assert values["leitstand_validation_ema_loss", ()] == record["validation_loss_ema_value"]


@on_both_databases
def test_the_last_record_is_the_one_of_the_highest_step(client: FlaskClient, store: Store) -> None:
    (record,) = store.records.find(RUN_ID, after_step=RECORD_STEPS[-2], limit=2)
    values = scrape(client)

    assert values["leitstand_record_step", ()] == RECORD_STEPS[-1]
    assert values["leitstand_record_timestamp_seconds", ()] == record.time


def test_the_disk_is_looked_at_where_the_directory_is(client: FlaskClient, store: Store, root: Path) -> None:
    tell_everything(store)
    size, _, free = shutil.disk_usage(root)
    values = scrape(client)

    assert values["leitstand_disk_size_bytes", ()] == size
    assert abs(values["leitstand_disk_free_bytes", ()] - free) < 0.05 * size


@on_both_databases
def test_a_command_is_counted_once_it_has_ended(client: FlaskClient, store: Store) -> None:
    done = store.commands.submit(RUN_ID, Kind.VALIDATE, {}, actor="a", source="api")
    store.commands.submit(RUN_ID, Kind.VALIDATE, {}, actor="a", source="api")
    store.commands.finish(done.id, CommandState.DONE)

    values = scrape(client)
    counts = of(values, "leitstand_commands_total")

    assert {labels for labels, value in counts.items() if value} == {("validate", "done")}
    assert counts["validate", "done"] == 1
    assert counts["stop", "failed"] == 0
    assert of(values, "leitstand_commands_open") == {("queued",): 1, ("running",): 0}


@on_both_databases
def test_the_delay_of_commands_is_counted_by_size(client: FlaskClient, store: Store) -> None:
    """From acceptance to beginning; one that waits for its step, or has not begun, does not count."""
    delays = {0.03: None, 0.7: None, 400.0: None, -5.0: None, 8.0: 9000}
    for delay, apply_at_step in delays.items():
        command = store.commands.submit(RUN_ID, Kind.VALIDATE, {}, actor="a", source="api", apply_at_step=apply_at_step)
        times = sa.update(commands).values(created_at=1000, started_at=1000 + delay)
        with store.transaction() as connection:
            connection.execute(times.where(commands.c.id == command.id))
    store.commands.submit(RUN_ID, Kind.STOP, {}, actor="a", source="api")

    values = scrape(client)
    buckets = {bound: value for (bound,), value in of(values, "leitstand_command_delay_seconds_bucket").items()}
    assert (buckets["0.05"], buckets["0.5"], buckets["1.0"], buckets["300.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert values["leitstand_command_delay_seconds_count", ()] == 4
    assert values["leitstand_command_delay_seconds_sum", ()] == pytest.approx(400.73)


def test_requests_are_counted_by_route_method_and_class_of_status(client: FlaskClient, store: Store) -> None:
    client.get("/state")
    client.get(f"/runs/{RUN_ID}/state")
    client.get("/commands/none")
    client.get("/nowhere")
    client.open("/state", method="BREW")
    client.get("/state", headers={"Host": "elsewhere.example"})
    values = scrape(client)

    assert of(values, "leitstand_api_requests_total") == {
        ("GET", "/state", "2xx"): 2,
        ("GET", "/state", "4xx"): 1,
        ("GET", "/commands/<command_id>", "4xx"): 1,
        ("GET", "none", "4xx"): 1,
        ("other", "none", "4xx"): 1,
    }
    assert values["leitstand_api_request_duration_seconds_count", ("/state",)] == 3
    assert values["leitstand_api_request_duration_seconds_bucket", ("+Inf", "/state")] == 3
    assert values["leitstand_api_request_duration_seconds_sum", ("/state",)] > 0
    assert values["leitstand_api_requests_in_progress", ()] == 1  # the scrape itself
    assert values["leitstand_api_waiting_requests", ()] == 0


@on_both_databases
def test_a_request_that_waits_is_seen_while_it_does(client: FlaskClient, store: Store, eventually: Eventually) -> None:
    other = client.application.test_client()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/validate?wait=30")
        eventually(lambda: scrape(other)["leitstand_api_waiting_requests", ()] == 1, what="the request that waits")
        eventually(lambda: store.commands.find(RUN_ID), what="its command")
        (command,) = store.commands.find(RUN_ID)
        store.commands.finish(command.id, CommandState.DONE)
        assert answer.result(60).status_code == 200

    assert scrape(other)["leitstand_api_waiting_requests", ()] == 0


def test_a_stream_of_events_counts_as_open_until_it_is_closed(client: FlaskClient, store: Store) -> None:
    other = client.application.test_client()
    answer = client.get("/events", buffered=False)
    assert scrape(other)["leitstand_api_event_streams", ()] == 1
    answer.close()

    assert scrape(other)["leitstand_api_event_streams", ()] == 0


def test_a_defect_ends_a_request_too(client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("api.routes.run.state.state_answer", lambda *_: 1 / 0)
        assert client.get("/state").status_code == 500
    values = scrape(client)

    assert values["leitstand_api_requests_total", ("GET", "/state", "5xx")] == 1
    assert values["leitstand_api_requests_in_progress", ()] == 1  # the scrape itself


@on_both_databases
def test_alerts_are_shown_on_and_off(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    assert of(scrape(client), "leitstand_alert")["failed",] == 0
    store.runs.update(RUN_ID, state=RunState.FAILED.value)

    alerts = of(scrape(client), "leitstand_alert")
    assert alerts["failed",] == 1
    assert {name for (name,) in alerts} == set(NAMES)


def test_skipped_steps_after_a_start_are_an_alert_though_their_number_is_lower(
    client: FlaskClient, store: Store
) -> None:
    now = time.time()
    store.runs.update(RUN_ID, snapshot=example_record(LAST_STEP, now, skipped_steps=40))
    store.events.add(RUN_ID, LAST_STEP, "started", {"resumed": True})
    assert of(scrape(client), "leitstand_alert")["non_finite",] == 0

    store.runs.update(RUN_ID, snapshot=example_record(LAST_STEP - 100, now, skipped_steps=13))
    store.events.add(RUN_ID, LAST_STEP - 100, "not finite", {"steps": [LAST_STEP - 101], "in_a_row": 0})

    assert of(scrape(client), "leitstand_alert")["non_finite",] == 1


def test_too_many_requests_are_counted(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client = make_client(api_commands_per_minute=1)
    statuses = [client.post("/pause").status_code for _ in range(4)]

    assert scrape(client)["leitstand_api_rate_limited_total", ()] == statuses.count(429) > 0


def test_an_application_counts_only_its_own_requests(make_client: Callable[..., FlaskClient], store: Store) -> None:
    first, second = make_client(), make_client()
    first.get("/livez")

    assert ("GET", "/livez", "2xx") in of(scrape(first), "leitstand_api_requests_total")
    assert of(scrape(second), "leitstand_api_requests_total") == {}


@on_both_databases
def test_a_scrape_reads_no_record_and_no_series(client: FlaskClient, store: Store, root: Path) -> None:
    """However long the run: neither the files' contents nor the log points are looked at."""
    for path in root.glob("Statistik_*.json"):
        path.write_text("no record")
    seen: list[str] = []

    def listen(*arguments: Any) -> None:
        seen.append(arguments[2])

    client.get("/state")  # by which the store's tables were looked at
    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    try:
        values = scrape(client)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", listen)

    assert values["leitstand_records", ()] == 6
    assert seen
    assert not [statement for statement in seen if "FROM series" in statement]
    assert not [statement for statement in seen if "FROM records" in statement and "LIMIT" not in statement]
    bounded = ("events.id > ", "max(events.id)")
    of_events = [statement for statement in seen if "FROM events" in statement]
    assert all(any(bound in statement for bound in bounded) for statement in of_events)


@on_both_databases
def test_a_value_that_is_not_known_is_left_out(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, snapshot=example_record(4200, 1.0, quality_ki_value=None, grad_norm=None))
    values = scrape(client)

    assert ("leitstand_train_grad_norm", ()) not in values
    assert ("leitstand_validation_quality_ratio", ("ki",)) not in values
    assert ("leitstand_validation_quality_ratio", ("lr",)) in values


def test_without_a_run_a_scrape_succeeds_and_no_state_is_one(client: FlaskClient) -> None:
    values = scrape(client)

    of_the_run = {row.name for row in RUN_METRICS} & {name for name, _ in values}
    assert of_the_run == {"leitstand_run_state", "leitstand_records"}
    assert values["leitstand_build_info", (__version__,)] == 1
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
    assert "leitstand_train_step 4200.0" in answer.text


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [("application/openmetrics-text; version=abc", True), ("application/openmetrics-text;q=0", False),
     ("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;version=0.0.4;q=0.9, */*;q=0.1", False),
     ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2", True),
     ("*/*", False), (";;;", False)],
)  # fmt: skip
def test_the_accept_header_decides_whatever_is_in_it(
    client: FlaskClient, store: Store, accept: str, *, is_open: bool
) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    wanted = "application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version=0.0.4"

    assert (answer.status_code, answer.content_type) == (200, f"{wanted}; charset=utf-8")
    assert "Accept" in answer.headers["Vary"].split(", ")


def test_openmetrics_is_what_its_own_parser_reads(client: FlaskClient, store: Store) -> None:
    tell_everything(store)
    client.get("/livez")
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    found = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in open_metrics_families(answer.text)
    }

    assert {row.name: row.kind for row in METRICS}.items() <= found.items()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say_about_the_metrics(client: FlaskClient, store: Store) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=client.get("/metrics").text, capture_output=True, text=True, timeout=60
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_process_is_alive_whatever_the_trainer_does(client: FlaskClient) -> None:
    assert (client.get("/livez").status_code, client.get("/livez").get_json()) == (200, {"alive": True})


def test_ready_means_that_a_command_could_be_obeyed(
    client: FlaskClient, make_client: Callable[..., FlaskClient], root: Path
) -> None:
    assert client.get("/readyz").status_code == 503
    store = write_run(root)
    assert (client.get("/readyz").status_code, client.get("/readyz").get_json()) == (200, {"ready": True})

    store.runs.update(RUN_ID, heartbeat_at=time.time() - 60)
    later = make_client()  # one that has not seen the trainer alive: it goes by the time of the heartbeat
    assert later.get("/readyz").get_json()["type"] == "/problems/no-trainer"
    store.close()

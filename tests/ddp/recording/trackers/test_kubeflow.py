"""Progress of a TrainJob: what is posted to Kubeflow Trainer's status server, when, and what if it is away."""

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1UpdateTrainJobStatusRequest as StatusRequest

from ddp.recording.trackers import kubeflow
from ddp.recording.trackers.combined import CombinedTracker
from ddp.recording.trackers.kubeflow import METRICS, StatusServer, TrainJobProgress, remaining_seconds, trainer_status
from ddp.recording.trackers.select import open_tracker
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.record import KEYS
from tests.ddp.harness.training import Training
from tests.service.harness.certificate import make_certificate, needs_openssl
from tests.service.harness.stand_in import Answer, StandIn, serving

Eventually = Callable[..., None]
Train = Callable[..., Training]
PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs/night/status"
AT = 1_795_596_556.9
SNAPSHOT = {
    "step_current": 450, "step_max": 1000, "total_loss_value": 0.123456789, "learning_rate_value": 1e-4,
    "psnr_ki_db": None, "best_quality_ever": float("nan"), "eta_total_formatted": "01:02:03",
}  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trainer(certificate: tuple[Path, Path]) -> Iterator[StandIn]:
    """A status server as Trainer runs it: HTTPS, and an answer that repeats the status."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    stand_in = StandIn()
    stand_in.on("POST", PATH, lambda request: Answer(json.loads(request.body)))
    with serving(stand_in, tls=context):
        yield stand_in


@pytest.fixture
def environment(trainer: StandIn, certificate: tuple[Path, Path], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("first\n")
    return {
        "KUBEFLOW_TRAINER_SERVER_URL": f"{trainer.url}{PATH}",
        "KUBEFLOW_TRAINER_SERVER_CA_CERT": str(certificate[0]),
        "KUBEFLOW_TRAINER_SERVER_TOKEN": str(tmp_path / "token"),
    }


@contextmanager
def tracking(environment: Mapping[str, str]) -> Iterator[TrainJobProgress]:
    server = StatusServer.of(environment)
    assert server is not None
    tracker = TrainJobProgress(server)
    tracker.start(0)
    try:
        yield tracker
    finally:
        tracker.close()


def posted(trainer: StandIn) -> list[dict[str, Any]]:
    return [json.loads(request.body)["trainerStatus"] for request in trainer.requests]


def test_a_status_is_what_trainer_takes_and_nothing_of_it_is_dropped() -> None:
    status = trainer_status(SNAPSHOT, AT)

    assert status == {
        "trainerStatus": {
            "progressPercentage": 45,
            "estimatedRemainingSeconds": 3723,
            "metrics": [
                {"name": "step_current", "value": "450"},
                {"name": "total_loss_value", "value": "0.123457"},
                {"name": "learning_rate_value", "value": "0.0001"},
            ],
            "lastUpdatedTime": datetime.fromtimestamp(int(AT), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    }
    taken = StatusRequest.from_dict(status)
    assert taken is not None
    kept = taken.to_dict()["trainerStatus"]
    assert kept == {**status["trainerStatus"], "lastUpdatedTime": datetime.fromtimestamp(int(AT), UTC)}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:00", 0), ("100:00:01", 360001), ("--:--:--", None), ("", None), ("999999999:00:00", None)],
)
def test_the_time_left_is_seconds_where_it_is_known(text: str, seconds: int | None) -> None:
    status = trainer_status({**SNAPSHOT, "eta_total_formatted": text}, AT)["trainerStatus"]

    assert remaining_seconds(text) == seconds
    assert status.get("estimatedRemainingSeconds") == seconds


def test_metrics_are_keys_of_the_record_within_trainers_limits() -> None:
    assert set(METRICS) <= set(KEYS)
    assert max(map(len, METRICS)) <= 64


@needs_openssl
def test_a_log_point_is_posted_at_once_with_the_token_of_that_moment(
    trainer: StandIn,
    environment: dict[str, str],
    tmp_path: Path,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kubeflow, "INTERVAL_SECONDS", 0.01)
    with tracking(environment) as tracker:
        tracker.log_point(450, AT, SNAPSHOT)
        eventually(lambda: len(trainer.requests) == 1, what="the first status")
        (tmp_path / "token").write_text("renewed")
        tracker.validation(500, AT, {**SNAPSHOT, "step_current": 500}, ())
        eventually(lambda: len(trainer.requests) == 2, what="the second status")

    assert [status["progressPercentage"] for status in posted(trainer)] == [45, 50]
    assert [request.headers["Authorization"] for request in trainer.requests] == ["Bearer first", "Bearer renewed"]


@needs_openssl
def test_of_many_log_points_the_newest_is_posted_once_more_at_the_end(
    trainer: StandIn, environment: dict[str, str], eventually: Eventually
) -> None:
    with tracking(environment) as tracker:
        tracker.log_point(1, AT, SNAPSHOT)
        eventually(lambda: len(trainer.requests) == 1, what="the first status")
        for step in range(451, 1001):
            tracker.log_point(step, AT, {**SNAPSHOT, "step_current": step})

    assert [status["progressPercentage"] for status in posted(trainer)] == [45, 100]


@needs_openssl
def test_what_was_not_accepted_is_posted_again_and_said_once(
    trainer: StandIn,
    environment: dict[str, str],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(kubeflow, "INTERVAL_SECONDS", 0.02)
    trainer.on("POST", PATH, Answer(b"", 500), Answer(b"", 403), Answer({}))
    with tracking(environment) as tracker:
        tracker.log_point(450, AT, SNAPSHOT)
        eventually(lambda: len(trainer.requests) == 3, what="three attempts")

    (said,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Trainer answers 500" in said
    assert "training goes on" in said
    assert "first" not in said
    assert PATH not in said


@pytest.mark.parametrize("broken", ["CA_CERT", "TOKEN", "URL"])
@needs_openssl
def test_a_server_that_cannot_be_trusted_or_reached_gets_no_token_and_stops_nothing(
    trainer: StandIn, environment: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    (tmp_path / "other").mkdir()
    other = {
        "CA_CERT": str(make_certificate(tmp_path / "other")[0]),
        "TOKEN": str(tmp_path / "no-such-file"),
        "URL": "https://127.0.0.1:1/",
    }
    with tracking({**environment, f"KUBEFLOW_TRAINER_SERVER_{broken}": other[broken]}) as tracker:
        tracker.log_point(450, AT, SNAPSHOT)

    assert trainer.requests == []
    assert caplog.text.count("cannot be updated") == 1
    assert "127.0.0.1" not in caplog.text


def test_a_server_that_is_silent_holds_no_log_point_up(
    environment: dict[str, str], trainer: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeflow, "ANSWER_SECONDS", 0.5)
    released = threading.Event()

    def silent(_request: object) -> Answer:
        released.wait(20)
        return Answer({})

    trainer.on("POST", PATH, silent)
    with tracking(environment) as tracker:
        for step in range(1000):
            tracker.log_point(step, time.time(), SNAPSHOT)
        assert not released.is_set()
    released.set()


def test_the_tracker_is_chosen_by_trainers_variables(environment: dict[str, str], tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)

    assert isinstance(open_tracker(RunConfig(), directory, environment, "run"), TrainJobProgress)
    assert isinstance(open_tracker(RunConfig(tensorboard=True), directory, environment, "run"), CombinedTracker)
    assert not isinstance(open_tracker(RunConfig(), directory, {}, "run"), TrainJobProgress)
    for name in environment:
        assert StatusServer.of({**environment, name: ""}) is None


@needs_openssl
def test_a_training_in_a_trainjob_reports_from_rank_0_until_all_is_done(
    train: Train, trainer: StandIn, environment: dict[str, str]
) -> None:
    training = train(2, MAX_STEPS=6, environment=environment)

    assert training.end() == 0, training.output
    first, *_, last = posted(trainer)
    assert first["progressPercentage"] < last["progressPercentage"] == 100
    assert {"total_loss_value", "quality_ki_value"} <= {metric["name"] for metric in last["metrics"]}
    assert last["estimatedRemainingSeconds"] == 0

"""Alerts: when each begins and ends, what it says, and that it is written down exactly once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.alerts.log import alert_input_of
from service.alerts.rules import NAMES, Alert, AlertInput, AlertVerdict, RunEvents, evaluate, resolved_sentence
from service.run.state import RunState
from service.store.store import RunRow

NOW = 1_000_000.0
RUN = "5f0c1e77ab42"
GIB = 2**30
DAY = 86400.0


def row(**values: Any) -> RunRow:
    """A run that is in order at NOW."""
    fine: dict[str, Any] = {
        "id": RUN, "config": {}, "started_at": NOW - 3600, "heartbeat_at": NOW, "progress_at": NOW, "step": 4200,
        "state": RunState.RUNNING, "reason": None, "snapshot": {"adaptive_plateau_counter": 0, "skipped_steps": 0},
    }  # fmt: skip
    return RunRow(**{**fine, **values})


def alert_input(
    run: RunRow | None = None, *, run_events: RunEvents | None = None, free_bytes: int = 50 * GIB
) -> AlertInput:
    return replace(
        alert_input_of(run or row(), free_bytes, NOW), run_events=run_events or RunEvents(record_at=NOW - 60)
    )


def verdict(now: AlertInput, before: AlertVerdict | None = None) -> list[str]:
    return list(evaluate(now, before or AlertVerdict()).firing)


def persisting(now: AlertInput) -> AlertVerdict:
    """The judgement once the situation has lasted for five minutes."""
    return evaluate(now, AlertVerdict(pending=dict.fromkeys(NAMES, NOW - 300)))


def later(now: AlertInput, seconds: float) -> AlertInput:
    """The same so much later; the trainer is still alive."""
    run = replace(now.run, heartbeat_at=now.run.heartbeat_at + seconds, progress_at=now.run.progress_at + seconds)
    return replace(now, run=run, now=now.now + seconds)


def on(name: str, seconds_ago: float = 3600.0) -> AlertVerdict:
    """This alert is on, and has been for so long."""
    return AlertVerdict({name: Alert(name, NOW - seconds_ago, "It was so.", NOW - seconds_ago)})


BAD = {
    "lost": alert_input(row(heartbeat_at=NOW - 31)),
    "failed": alert_input(row(state=RunState.FAILED, reason="no space left")),
    "stalled": alert_input(row(progress_at=NOW - 61, reason="Rank 1 hangs in data.")),
    "non_finite": alert_input(run_events=RunEvents(record_at=NOW, non_finite_at=NOW - 599)),
    "plateau": alert_input(row(snapshot={"adaptive_plateau_counter": 250})),
    "slow_rank": alert_input(run_events=RunEvents(record_at=NOW, slow_rank=1, slow_at=NOW - 600)),
    "no_record": alert_input(row(started_at=NOW - 3 * DAY), run_events=RunEvents(record_at=NOW - DAY - 1)),
    "records_unsaved": alert_input(row(facts={"unsaved_records": 1})),
    "checkpoint_failed": alert_input(
        run_events=RunEvents(record_at=NOW, checkpoint_problem="no space", checkpoint_failed_at=NOW)
    ),
    "second_trainer": alert_input(
        row(start_number=3),
        run_events=RunEvents(
            record_at=NOW, second_trainer="Two train.", second_trainer_start=3, second_trainer_at=NOW - 9
        ),
    ),
    "directory_lost": alert_input(
        run_events=RunEvents(record_at=NOW, lost_directory="It was moved.", directory_lost_at=NOW - 9)
    ),
    "data_lost": alert_input(row(facts={"log_points_dropped": 12})),
    "disk": alert_input(free_bytes=2 * GIB - 1),
}
"""A situation for every alert in which it alone is on once that has lasted for minutes."""
GOOD = {
    "lost": alert_input(row(heartbeat_at=NOW - 29)),
    "failed": alert_input(row(state=RunState.STOPPED)),
    "stalled": alert_input(row(progress_at=NOW - 60)),
    "non_finite": alert_input(run_events=RunEvents(record_at=NOW, non_finite_at=NOW - 600)),
    "plateau": alert_input(row(snapshot={"adaptive_plateau_counter": 249})),
    "slow_rank": alert_input(run_events=RunEvents(record_at=NOW, slow_rank=1, slow_at=NOW - 599)),
    "no_record": alert_input(row(started_at=NOW - 3 * DAY), run_events=RunEvents(record_at=NOW - DAY)),
    "records_unsaved": alert_input(row(facts={"unsaved_records": 0})),
    "checkpoint_failed": alert_input(run_events=RunEvents(record_at=NOW)),
    "second_trainer": alert_input(
        row(start_number=4), run_events=RunEvents(record_at=NOW, second_trainer="Two train.", second_trainer_start=3)
    ),
    "directory_lost": alert_input(run_events=RunEvents(record_at=NOW)),
    "data_lost": alert_input(row(facts={"log_points_dropped": 0})),
    "disk": alert_input(free_bytes=int(2.2 * GIB) + 1),
}
"""The nearest situation in which it is not on."""
PATIENT = {"plateau": 60, "records_unsaved": 120, "disk": 60}


def test_a_run_that_is_in_order_has_no_alert() -> None:
    assert persisting(alert_input()) == AlertVerdict()
    assert set(BAD) == set(GOOD) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_begins_at_its_bound(name: str) -> None:
    assert list(persisting(BAD[name]).firing) == [name]
    assert list(persisting(GOOD[name]).firing) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_ends_with_its_reason(name: str) -> None:
    assert verdict(BAD[name], on(name)) == [name]
    assert verdict(GOOD[name], on(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_sentence_holds_the_values_and_time_of_the_beginning(name: str) -> None:
    alert = persisting(BAD[name]).firing[name]

    assert alert.sentence.endswith((".", "no space", "no space left"))
    assert not alert.sentence[0].islower()
    assert alert.since <= NOW
    assert "min." in resolved_sentence(alert, alert.since + 600)


def test_sentences_name_what_helps() -> None:
    said = {name: persisting(BAD[name]).firing[name].sentence for name in NAMES}

    assert said["stalled"] == "No progress for 61 s at step 4200: Rank 1 hangs in data."
    assert said["failed"] == "The training failed at step 4200: no space left"
    assert said["disk"] == "Only 2.0 GiB are free on the disk of the run directory."
    assert said["no_record"] == "No record was saved for 24.0 h, at step 4200."
    assert said["data_lost"].startswith("12 log points")


@pytest.mark.parametrize("name", sorted(PATIENT))
def test_what_often_passes_by_itself_must_last_before_anybody_is_called(name: str) -> None:
    first = evaluate(BAD[name], AlertVerdict())
    assert first == AlertVerdict(pending={name: NOW})

    almost = evaluate(later(BAD[name], PATIENT[name] - 1), first)
    assert not almost.firing
    assert not evaluate(later(GOOD[name], 1), first).pending, "a break begins the time anew"
    assert list(evaluate(later(BAD[name], PATIENT[name]), almost).firing) == [name]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"failed"}))
def test_an_alert_does_not_flap_but_the_end_of_a_run_ends_it(name: str) -> None:
    just_begun = on(name, seconds_ago=29)
    ended = replace(GOOD[name], run=replace(GOOD[name].run, state=RunState.FINISHED))

    assert verdict(GOOD[name], just_begun) == [name]
    assert verdict(GOOD[name], on(name, seconds_ago=31)) == []
    assert verdict(ended, just_begun) == []


def test_an_alert_ends_after_the_clock_was_set_back() -> None:
    ahead = alert_input(run_events=RunEvents(record_at=NOW, non_finite_at=NOW + DAY))

    assert verdict(GOOD["stalled"], on("stalled", seconds_ago=-DAY)) == []
    assert verdict(ahead, on("non_finite", seconds_ago=-DAY)) == []


@pytest.mark.parametrize("name", sorted(PATIENT))
def test_a_clock_that_was_set_back_delays_no_alert(name: str) -> None:
    ahead = evaluate(BAD[name], AlertVerdict(pending={name: NOW + DAY}))

    assert ahead.pending == {name: NOW}


def test_only_failure_is_of_concern_once_a_run_has_ended() -> None:
    for name in NAMES:
        ended = replace(BAD[name], run=replace(BAD[name].run, state=RunState.FINISHED))
        failed = replace(BAD[name], run=replace(BAD[name].run, state=RunState.FAILED))

        assert list(persisting(ended).firing) == []
        assert verdict(ended, on(name)) == []
        assert list(persisting(failed).firing) == ["failed"]


@pytest.mark.parametrize("name", ["plateau", "slow_rank", "no_record"])
def test_a_pause_begins_no_alert_and_ends_none(name: str) -> None:
    paused = replace(BAD[name], run=replace(BAD[name].run, state=RunState.PAUSED))

    assert list(persisting(paused).firing) == []
    assert verdict(paused, on(name)) == [name]


def test_after_a_pause_of_days_the_time_without_a_record_begins_anew() -> None:
    resumed = RunEvents(record_at=NOW - 9 * DAY, resumed_at=NOW - DAY)

    assert verdict(replace(BAD["no_record"], run_events=resumed)) == []
    assert verdict(replace(BAD["no_record"], run_events=replace(resumed, resumed_at=NOW - DAY - 1))) == ["no_record"]


def test_the_disk_has_to_have_a_tenth_more_room_before_its_alert_ends() -> None:
    assert verdict(alert_input(free_bytes=int(2.1 * GIB)), on("disk")) == ["disk"]
    assert list(persisting(alert_input(free_bytes=int(2.1 * GIB))).firing) == []


def test_limits_are_those_that_the_run_was_started_with() -> None:
    config = {"ALERT_DISK_GIB": 60.0, "ALERT_RECORD_SECONDS": 30.0, "PLATEAU_PATIENCE": 10, "STALL_SECONDS": 5.0}
    strict = row(config=config, started_at=NOW - 100, snapshot={"adaptive_plateau_counter": 10})

    assert list(persisting(alert_input(strict)).firing) == ["plateau", "no_record", "disk"]
    assert verdict(alert_input(replace(strict, progress_at=NOW - 6)), on("stalled")) == ["stalled"]


def test_limits_of_zero_switch_alerts_off() -> None:
    config = {"ALERT_DISK_GIB": 0.0, "ALERT_RECORD_SECONDS": 0.0}
    run = row(config=config, started_at=NOW - 9 * DAY)

    assert list(persisting(alert_input(run, run_events=RunEvents(), free_bytes=0)).firing) == []


def test_a_patience_that_was_set_since_counts() -> None:
    live = {"changes": {"PLATEAU_PATIENCE": 100}}

    assert list(persisting(alert_input(row(live=live, snapshot={"adaptive_plateau_counter": 100}))).firing) == [
        "plateau"
    ]


def test_settings_of_another_version_hide_no_alert() -> None:
    run = row(config={"MAX_STEPS": "many"}, heartbeat_at=NOW - 60)

    assert verdict(alert_input(run)) == ["lost"]


def test_a_run_without_a_record_gets_its_time_from_the_start() -> None:
    fresh, old = row(started_at=NOW - DAY), row(started_at=NOW - DAY - 1)

    assert list(persisting(alert_input(fresh, run_events=RunEvents())).firing) == []
    assert persisting(alert_input(old, run_events=RunEvents())).firing["no_record"].since == NOW - 1


def test_the_names_are_those_of_the_rules_for_prometheus(repository: Path) -> None:
    rules = yaml.safe_load((repository / "deploy" / "prometheus" / "alerts.yml").read_text())
    known = {rule["alert"].removeprefix("Leitstand") for group in rules["groups"] for rule in group["rules"]}
    ours = {
        "lost": "RunLost", "failed": "RunFailed", "stalled": "RunStalled", "non_finite": "NonFiniteSteps",
        "plateau": "Plateau", "slow_rank": "SlowRank", "no_record": "NoRecord", "records_unsaved": "RecordsUnsaved",
        "checkpoint_failed": "CheckpointsFail", "second_trainer": "SecondTrainer", "directory_lost": "DirectoryLost",
        "data_lost": "LogPointsDropped", "disk": "DiskLow",
    }  # fmt: skip

    assert set(ours) == set(NAMES)
    assert known - set(ours.values()) == {"ApiDown", "NoBetterQuality", "StoreOutages"}, "docs/operations.md says why"
    assert set(ours.values()) <= known

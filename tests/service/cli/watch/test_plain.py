"""`leitstand watch` without a terminal: a line for each log point and event, until the run ends."""

import json
import time
from typing import Any

import pytest

from service.cli.watch.plain import MAX_OUTAGE_SECONDS, LinePrinter
from service.cli.watch.updates import AlertsSeen, EventSeen, StateSeen, Trouble
from service.client.errors import ApiError, ServerUnreachableError
from service.client.sse import LiveEvent
from service.errors import UserError


def state(run_state: str = "running", step: int = 100, **values: Any) -> StateSeen:
    """A state at a log point of this step."""
    known = {
        "run_id": "run-1", "started_at": 1.0, "run_state": run_state, "run_reason": None, "step_live": step,
        "step_current": step, "step_max": 500, "total_loss_value": 0.5, "quality_ki_value": 0.7,
        "iteration_duration": 0.25, "last_update_time": 2.0, "eta_total_formatted": "00:01:40", "age_seconds": 0.1,
    }  # fmt: skip
    return StateSeen({**known, **values}, 3.0)


def log_point(step: int) -> EventSeen:
    values = {"total_loss_value": 0.25, "iteration_duration": 0.5}
    return EventSeen(LiveEvent("1", "log", {"step": step, "time": 4.0, "values": values}), 4.0)


@pytest.fixture
def printer() -> LinePrinter:
    return LinePrinter()


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines without their times."""
    return [line[21:] for line in capsys.readouterr().out.splitlines()]


def test_each_log_point_is_one_line_however_it_came(printer: LinePrinter, capsys: pytest.CaptureFixture[str]) -> None:
    for update in (state(), log_point(110), state(step=110), state(step=120), log_point(120)):
        printer.take(update)

    first, *points = printed(capsys)
    assert first == "run run-1 running at step 100"
    assert [point.partition("  finishes")[0] for point in points] == [
        "step 110 of 500  loss 0.25000  quality KI 0.7000  0.500 s/step",
        "step 120 of 500  loss 0.50000  quality KI 0.7000  0.250 s/step",
    ]
    assert printer.exit_code is None


@pytest.mark.parametrize(("end", "code"), [("finished", 0), ("stopped", 0), ("failed", 1)])
def test_the_end_of_the_run_is_the_end_with_what_to_do_next(
    printer: LinePrinter, capsys: pytest.CaptureFixture[str], end: str, code: int
) -> None:
    printer.take(state())
    printer.take(state(end, run_reason="no space left"))

    lines = printed(capsys)
    assert lines[1] == f"{end} at step 100 (no space left)"
    assert "leitstand" in lines[2]
    assert printer.exit_code == code


def test_a_run_that_is_over_already_is_said(printer: LinePrinter, capsys: pytest.CaptureFixture[str]) -> None:
    printer.take(state("finished"))

    assert printed(capsys)[0] == "run run-1 finished at step 100"
    assert printer.exit_code == 0


def test_steps_that_are_repeated_after_a_rollback_are_printed(
    printer: LinePrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    rollback = LiveEvent("2", "event", {"id": 2, "kind": "rollback", "step": 50, "time": 5.0, "details": {}})
    for update in (state(), EventSeen(rollback, 5.0), log_point(60)):
        printer.take(update)

    assert [line[:12] for line in printed(capsys)] == ["run run-1 ru", "rollback at ", "step 60 of 5"]


def test_alerts_are_printed_when_they_turn_on_and_off(printer: LinePrinter, capsys: pytest.CaptureFixture[str]) -> None:
    alert: Any = {"name": "stalled", "since": 1.0, "sentence": "Nothing moves."}
    for update in (state(), AlertsSeen([alert], 2.0), AlertsSeen([alert], 3.0), AlertsSeen([], 4.0)):
        printer.take(update)

    assert printed(capsys)[1:] == ["stalled is on: Nothing moves.", "stalled is over"]


def test_an_outage_is_said_once_and_borne_for_a_while(
    printer: LinePrinter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Trouble(ServerUnreachableError("Nothing answers."))
    for update in (state(), away, away, state(), away):
        printer.take(update)

    assert printed(capsys)[1:] == [
        "Nothing answers. Asking again.",
        "The API answers again.",
        "Nothing answers. Asking again.",
    ]
    too_late = time.time() + MAX_OUTAGE_SECONDS + 1
    monkeypatch.setattr("service.cli.watch.plain.time.time", lambda: too_late)
    with pytest.raises(ServerUnreachableError):
        printer.take(away)


@pytest.mark.parametrize("error", [ServerUnreachableError("Nothing answers."), ApiError("No run.", 503, "no-run")])
def test_who_is_not_there_at_the_beginning_is_not_waited_for(printer: LinePrinter, error: UserError) -> None:
    with pytest.raises(type(error)):
        printer.take(Trouble(error))


def test_a_refusal_ends_it_at_any_time(printer: LinePrinter) -> None:
    printer.take(state())

    with pytest.raises(ApiError):
        printer.take(Trouble(ApiError("The token is unknown.", 401, "unauthorized")))


def test_with_json_every_line_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LinePrinter(as_json=True)
    for update in (state(), log_point(110)):
        printer.take(update)

    first, point = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["kind"], first["time"]) == ("state", 3.0)
    assert (point["kind"], point["time"], point["step"]) == ("log", 4.0, 110)

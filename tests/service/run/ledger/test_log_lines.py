"""Lines of the log that stand for events of the ledger, read back as what was written."""

from typing import Any

import pytest

from service.run.ledger.log_lines import BEGUN, SPENT, begun_line, begun_of, spent_line, spent_of
from service.run.ledger.time_spent import Activity, TimeSpent

AT = 1_795_488_793.125


@pytest.mark.parametrize("training_at", [None, AT - 5])
@pytest.mark.parametrize("is_past", [True, False])
def test_what_a_start_has_spent_its_time_on_is_read_back(training_at: float | None, is_past: bool) -> None:
    seconds = {activity: 1.5 * number for number, activity in enumerate(Activity)}
    spent = TimeSpent(AT - 60, AT, 42, training_at, seconds)

    match = SPENT.fullmatch(spent_line(spent, is_past=is_past))

    assert match is not None
    step, details = spent_of(match)
    assert step == 42
    assert TimeSpent.parse(details["time_spent"]) == spent


PREVIOUS = {
    "state": "stopped", "reason": "left after a signal; ready to resume", "step": 7, "heartbeat_at": AT - 9,
    "started_at": AT - 9, "time_spent": None,
}  # fmt: skip
FAILURE = {"rank": 1, "pid": 77, "how": "was ended by SIGKILL", "detected_at": AT - 3}


@pytest.mark.parametrize("previous", [None, PREVIOUS, {**PREVIOUS, "reason": None}])
@pytest.mark.parametrize(("restarts", "failure"), [(0, None), (2, None), (2, FAILURE)])
def test_how_a_start_began_is_read_back(previous: Any, restarts: int, failure: Any) -> None:
    details = {"began_at": AT, "restarts": restarts, "failure": failure, "previous": previous}

    match = BEGUN.fullmatch(begun_line(details))

    assert match is not None
    assert begun_of(match) == (7 if previous else 0, details)

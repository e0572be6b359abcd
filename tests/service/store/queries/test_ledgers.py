"""The ledgers of runs from the store: each event is read once, and nothing while nothing changes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.run.ledger.time_spent import Activity, TimeSpent, TimeUse
from service.store.queries import ledgers
from service.store.store import RunRow, Store

RUN_ID = "run-1"
SECONDS = {**dict.fromkeys(Activity, 0.0), Activity.TRAINING: 60.0}


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    store = Store(location, create=True, keep_open=True, busy_seconds=0.1)
    store.open_run(RUN_ID, {})
    store.events.add(RUN_ID, 0, "registered", {"began_at": 1000.0, "restarts": 0, "previous": None})
    spend(store, 60.0)
    yield store
    store.close()


def spend(store: Store, seconds: float) -> None:
    spent = TimeSpent(1000.0, 1000.0 + seconds, 60, 1001.0, {**SECONDS, Activity.TRAINING: seconds})
    store.runs.update(RUN_ID, facts={"time_spent": spent.as_dict()}, heartbeat_at=1000.0 + seconds)


def run_of(store: Store) -> RunRow:
    run = store.runs.get(RUN_ID)
    assert run is not None
    return run


def roll_back(store: Store) -> None:
    store.events.add(RUN_ID, 30, "rollback", {"from_step": 60, "checkpoint": "step_0000030", "reason": "x"})


def test_a_ledger_follows_the_row_and_new_events(store: Store, location: Path | str) -> None:
    assert store.ledgers.of(run_of(store), 1060.0).seconds[TimeUse.USEFUL] == 60

    spend(store, 90.0)
    roll_back(store)
    store.events.add("run-2", 1, "rollback", {"from_step": 60, "checkpoint": "step_0000030", "reason": "x"})

    answer = store.ledgers.of(run_of(store), 1090.0)
    assert answer.wall_seconds == pytest.approx(90)
    assert answer.incident_counts == {"rollback": 1}
    with closing(Store(location)) as another:
        assert another.ledgers.of(run_of(store), 1090.0) == answer


def test_a_trainer_that_is_silent_is_an_incident_without_any_event(store: Store) -> None:
    run = run_of(store)

    assert store.ledgers.of(run, 1060.0).incident_counts == {}
    assert store.ledgers.of(run, 1090.0).incident_counts == {"trainer_down": 1}
    assert store.ledgers.of(run, 1060.0).incident_counts == {}


def statements(store: Store, ask: int) -> list[str]:
    """What the database is asked while the same row's ledger is asked for so often."""
    run, asked = run_of(store), []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        for _ in range(ask):
            store.ledgers.of(run, run.heartbeat_at)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return [statement for statement in asked if "events" in statement]


def test_a_row_that_stays_the_same_asks_the_store_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "FRESH_SECONDS", 3600.0)

    assert len(statements(store, 200)) == 1


def test_an_event_that_comes_without_the_row_is_seen_after_a_moment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "FRESH_SECONDS", 0.0)
    run = run_of(store)
    store.ledgers.of(run, 1060.0)

    roll_back(store)

    assert store.ledgers.of(run, 1060.0).incident_counts == {"rollback": 1}


def test_many_events_are_read_in_pages_and_none_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "PAGE_SIZE", 3)
    for _ in range(10):
        roll_back(store)

    assert store.ledgers.of(run_of(store), 1060.0).incident_counts == {"rollback": 10}
    spend(store, 70.0)
    assert store.ledgers.of(run_of(store), 1070.0).incident_counts == {"rollback": 10}


def test_without_a_look_at_the_store_the_row_counts_with_the_events_that_are_known(store: Store) -> None:
    store.ledgers.of(run_of(store), 1060.0)
    roll_back(store)
    spend(store, 70.0)

    known = store.ledgers.last_known(run_of(store), 1070.0)

    assert known.wall_seconds == pytest.approx(70)
    assert known.incident_counts == {}
    assert store.ledgers.of(run_of(store), 1070.0).incident_counts == {"rollback": 1}

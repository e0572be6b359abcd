"""Following a run: nothing is missed, nothing comes twice but what a rollback makes new."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import event_replay
from service.store.event_replay import EventCursor
from service.store.queries.events import Event
from service.store.store import SeriesRow, Store

RUN = "5f0c1e77ab42"
START = EventCursor(RUN, 0, 0)


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    store = Store(location, create=True, keep_open=True)
    store.open_run(RUN, {})
    yield store
    store.close()


def log(store: Store, *steps: int, **values: float) -> None:
    store.series.add(RUN, [SeriesRow(step, time.time(), values or {"loss": 1.0}) for step in steps])


def tell(store: Store, step: int, kind: str) -> None:
    store.events.add(RUN, step, kind, {})


def names(store: Store, position: EventCursor, limit: int = 100) -> list[str]:
    """What is read, as `kind` or the step of a log point."""
    passed, _ = store.replay.read_after(position, limit)
    return [what.kind if isinstance(what, Event) else str(what.step) for what, _ in passed]


def test_events_and_log_points_come_in_the_order_of_their_times(store: Store) -> None:
    tell(store, 0, "started")
    log(store, 100)
    tell(store, 150, "paused")
    log(store, 200)

    passed, is_all = store.replay.read_after(START, 100)

    assert names(store, START) == ["started", "100", "paused", "200"]
    assert is_all
    assert [position.next_step for _, position in passed] == [0, 101, 101, 201]
    assert passed[-1][1] == store.replay.latest_cursor(RUN)


def test_every_position_leads_on_to_exactly_the_rest(store: Store) -> None:
    tell(store, 0, "started")
    log(store, 100, 200)
    tell(store, 250, "paused")
    log(store, 300)
    passed, _ = store.replay.read_after(START, 100)

    for number, (_, position) in enumerate(passed, 1):
        assert names(store, position) == names(store, START)[number:]


def test_pages_bring_everything_once(store: Store) -> None:
    for step in range(25):
        tell(store, step, "set")
    log(store, *range(1, 31))
    position, found, pages, is_all = START, [], 0, False
    while not is_all:
        passed, is_all = store.replay.read_after(position, 10)
        position, pages = passed[-1][1] if passed else position, pages + 1
        found += [what for what, _ in passed]

    assert len(found) == 55
    assert pages > 3
    assert [what.step for what in found if isinstance(what, SeriesRow)] == list(range(1, 31))


def test_after_a_rollback_the_steps_are_read_again(store: Store) -> None:
    log(store, 100, 200, 300, 400)
    before = store.replay.latest_cursor(RUN)
    store.move_to_branch(RUN, 200, f"{RUN}-branch-0")
    tell(store, 200, "rollback")
    log(store, 300, 400)

    assert names(store, before) == ["rollback", "300", "400"]


def test_after_a_resume_the_steps_are_read_again(store: Store) -> None:
    log(store, 100, 200, 300)
    before = store.replay.latest_cursor(RUN)
    store.move_to_branch(RUN, 100, f"{RUN}-after-100")
    tell(store, 100, "started")
    log(store, 200)

    passed, _ = store.replay.read_after(before, 100)
    assert [what.step for what, _ in passed] == [100, 200]
    assert passed[-1][1].next_step == 201


def test_a_rollback_on_a_later_page_is_obeyed_too(store: Store) -> None:
    log(store, 100, 200, 300)
    before = store.replay.latest_cursor(RUN)
    for _ in range(3):
        tell(store, 300, "set")
    store.move_to_branch(RUN, 100, f"{RUN}-branch-0")
    tell(store, 100, "rollback")
    log(store, 200)

    first, is_all = store.replay.read_after(before, 3)
    assert not is_all
    assert names(store, first[-1][1]) == ["rollback", "200"]


def test_a_clock_that_is_set_back_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    log(store, 100)
    tell(store, 100, "set")
    before = store.replay.latest_cursor(RUN)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    log(store, 200)
    tell(store, 200, "paused")

    assert sorted(names(store, before)) == ["200", "paused"]


def test_what_a_validation_adds_to_a_log_point_that_was_seen_comes_with_its_record(store: Store) -> None:
    log(store, 100)
    before = store.replay.latest_cursor(RUN)
    log(store, 100, quality_ki_value=0.7)
    store.records.add(RUN, 100, {}, "0" * 64)

    passed, _ = store.replay.read_after(before, 100)

    (event, _), (point, position) = passed
    assert isinstance(event, Event)
    assert isinstance(point, SeriesRow)
    assert point.values == {"loss": 1.0, "quality_ki_value": 0.7}
    assert position == store.replay.latest_cursor(RUN)


def test_a_run_is_followed_from_its_latest_start(store: Store) -> None:
    tell(store, 0, "started")
    log(store, 100)
    store.open_run(RUN, {})
    tell(store, 100, "started")
    log(store, 200)
    run = store.runs.get(RUN)

    assert run is not None
    assert names(store, store.replay.start_cursor(run)) == ["started", "200"]


def test_a_rollback_while_somebody_looks_for_the_present_is_still_to_be_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, 100, 200, 300)
    span, last_id, asked = store.series.span, store.events.last_id, []

    def roll_back() -> None:
        asked.append(1)
        if len(asked) == 2:
            store.move_to_branch(RUN, 100, f"{RUN}-branch-0")
            tell(store, 100, "rollback")
            log(store, 200)

    monkeypatch.setattr(store.series, "span", lambda run_id: (roll_back(), span(run_id))[1])
    monkeypatch.setattr(store.events, "last_id", lambda run_id: (roll_back(), last_id(run_id))[1])

    assert names(store, store.replay.latest_cursor(RUN)) == ["rollback", "200"]


def test_up_to_a_target_there_is_nothing_that_comes_after_it(store: Store) -> None:
    """Else its id would say that all before it was seen, although that is to come from elsewhere."""
    log(store, 100, 200)
    tell(store, 200, "paused")
    target = store.replay.latest_cursor(RUN)
    for step in (200, 210, 220):
        store.records.add(RUN, step, {}, "0" * 64)
    log(store, 300)

    passed, is_all = store.replay.read_after(START, 2, target)
    assert [what.step for what, _ in passed] == [100, 200, 200]
    passed, is_all = store.replay.read_after(passed[-1][1], 2, target)

    assert (passed, is_all) == ([], True)
    assert len(store.replay.read_after(target, 100)[0]) == 5


def test_other_runs_of_the_store_are_left_out(store: Store) -> None:
    store.open_run("other", {})
    store.events.add("other", 1, "paused", {})
    store.series.add("other", [SeriesRow(1, time.time(), {})])

    assert names(store, START) == []
    assert store.replay.latest_cursor(RUN) == EventCursor(RUN, 0, 0)


def test_unseen_log_points_are_counted_up_to_a_bound(store: Store) -> None:
    log(store, 1, 2, 3, 4)

    assert store.replay.has_more_points(START, 3)
    assert not store.replay.has_more_points(START, 4)
    assert not store.replay.has_more_points(EventCursor(RUN, 0, 3), 2)


@pytest.mark.parametrize("position", [START, EventCursor("run-1.b", 7, 10**18), EventCursor("a\n: 1/ü-", 1, 2)])
def test_a_position_survives_as_text(position: EventCursor) -> None:
    assert EventCursor.parse(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "1", "1-2", "1-2-", "-1-2-run", "a-2-run", "1-2-r/n", "1-2-run\n", "٣-2-run", f"1-{10**18 + 1}-run"]
)
def test_a_damaged_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no position"):
        EventCursor.parse(text)


def test_events_that_walk_steps_again_are_those_that_the_trainer_writes(repository: Path) -> None:
    written = "".join(path.read_text() for path in (repository / "ddp" / "training").rglob("*.py"))

    for kind in event_replay.REWINDING_KINDS:
        assert f'event("{kind}"' in written

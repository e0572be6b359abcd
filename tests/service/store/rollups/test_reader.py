"""The history of values in short: always what one would compute from the log points alone."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from service.store import tables
from service.store.store import Bucket, SeriesRow, Store

NAMES = ("loss", "quality")
Values = dict[str, float | None]
Model = dict[int, Values]


@contextmanager
def new_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="leitstand-history-") as folder:
        store = Store(Path(folder) / "leitstand.db", create=True, keep_open=True)
        with store.transaction() as connection:  # these stores need not survive a power cut
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
        yield store
        store.close()


def check(store: Store, run: str, model: Model, first: int, last: int, points: int) -> None:
    """Compare an answer of the store with the log points it should hold."""
    within = {step: values for step, values in model.items() if first <= step <= last}
    found = store.series.envelope(run, NAMES, first, last, points)
    assert list(found) == list(NAMES)
    for name in NAMES:
        logged = {step: value for step, values in within.items() if (value := values.get(name)) is not None}
        check_stretches(found[name], logged)
        assert len(found[name]) <= points + 1
        if len(within) <= points:
            assert all(bucket.count == 1 for bucket in found[name])


def check_stretches(buckets: Sequence[Bucket], values: dict[int, float]) -> None:
    steps, place = sorted(values), 0
    for bucket in buckets:
        covered = {step: values[step] for step in steps[place : place + bucket.count]}
        place += bucket.count
        assert (bucket.first_step, bucket.last_step) == (min(covered), max(covered))
        assert (bucket.low, bucket.high) == (min(covered.values()), max(covered.values()))
        assert bucket.low_step == min(step for step, v in covered.items() if v == bucket.low)
        assert bucket.high_step == min(step for step, v in covered.items() if v == bucket.high)
        assert math.isclose(bucket.total, math.fsum(covered.values()), abs_tol=1e-9)
        assert bucket.low <= bucket.mean <= bucket.high
    assert place == len(values)


def write(store: Store, run: str, model: Model, new: Model) -> None:
    store.series.add(run, [SeriesRow(step, float(step), values) for step, values in new.items()])
    for step, values in new.items():
        model[step] = {**model.get(step, {}), **values}


value = st.one_of(st.none(), st.integers(-9, 9).map(float))
point = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, value))
stretch_of_points = st.tuples(
    st.just("go on"),
    st.sampled_from([1, 1, 2, 3, 7, 100, 5000]),  # steps between two log points
    st.integers(1, 200),
    st.lists(point, min_size=1, max_size=5),
    st.sampled_from([1, 40, 1000]),  # log points written together
)
late_point = st.tuples(st.just("late"), st.floats(0, 1), point)
going_back = st.tuples(st.just("branch"), st.floats(0, 1))
question = st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([10, 12, 50]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(stretch_of_points, stretch_of_points, late_point, going_back), min_size=1, max_size=8),
    st.lists(question, min_size=1, max_size=4),
)
def test_whatever_was_written_late_or_branched_off_the_history_is_that_of_the_log_points(
    acts: list[tuple[object, ...]], questions: list[tuple[float, float, int]]
) -> None:
    with new_store() as store:
        models: dict[str, Model] = {"run": {}}
        for act in acts:
            carry_out(store, models, act)
        for run, model in models.items():
            last = max(model, default=0)
            check(store, run, model, 0, 10**9, 10)
            for start, end, points in questions:
                first, after = sorted((round(start * last), round(end * last)))
                check(store, run, model, first, after, points)
            names = {name for values in model.values() for name in values}
            assert set(store.series.names(run)) == names if run == "run" else set(store.series.names(run)) >= names


def carry_out(store: Store, models: dict[str, Model], act: tuple[object, ...]) -> None:
    model = models["run"]
    last = max(model, default=0)
    match act:
        case ("go on", int(spacing), int(count), list(pattern), int(together)):
            new = {last + spacing * number: pattern[number % len(pattern)] for number in range(1, count + 1)}
            for start in range(0, count, together):
                write(store, "run", model, dict(list(new.items())[start : start + together]))
        case ("late", float(where), dict(values)):
            write(store, "run", model, {round(where * last): values})
        case ("branch", float(where)):
            step, name = round(where * last), f"branch-{len(models)}"
            store.move_to_branch("run", step, name)
            models[name] = {at: values for at, values in model.items() if at > step}
            models["run"] = {at: values for at, values in model.items() if at <= step}


def wave(step: int) -> Values:
    return {"loss": math.sin(step / 50), "quality": float(step % 7)}


@pytest.fixture(scope="module")
def long_run() -> Iterator[Store]:
    """A store with 20,000 log points, every one at a step of its own."""
    with new_store() as store:
        for start in range(0, 20_000, 500):
            store.series.add("run", [SeriesRow(step, 1.0, wave(step)) for step in range(start, start + 500)])
        yield store


def test_a_long_history_is_told_without_reading_its_log_points(long_run: Store) -> None:
    before = long_run.series.envelope("run", NAMES, 0, 20_000, 20)

    with pytest.raises(KeyError), long_run.transaction_scope():  # noqa: PT012
        with long_run.transaction() as connection:
            connection.execute(sa.delete(tables.series).where(tables.series.c.step.between(1, 19_000)))
        assert long_run.series.envelope("run", NAMES, 0, 20_000, 20) == before
        raise KeyError  # nothing of this is kept
    assert 10 <= len(before["loss"]) <= 21


@pytest.mark.parametrize("points", [10, 100, 1000, 5000, 20_000, 30_000])
@pytest.mark.parametrize(("first", "last"), [(0, 19_999), (1, 19_998), (137, 10_137), (5000, 5999), (19_990, 19_999)])
def test_every_stretch_of_a_long_history_holds(long_run: Store, first: int, last: int, points: int) -> None:
    check(long_run, "run", {step: wave(step) for step in range(20_000)}, first, last, points)


def test_about_as_many_stretches_come_as_were_asked_for(long_run: Store) -> None:
    for points in (10, 33, 100, 999, 1000, 2000):
        for last in (19_999, 12_345, 5000):
            assert points / 2 <= len(long_run.series.envelope("run", NAMES, 0, last, points)["loss"]) <= points + 1


def test_a_store_of_an_earlier_version_is_read_and_catches_up_little_by_little() -> None:
    with new_store() as store:
        model = {step: wave(step) for step in range(3000)}
        rows = [{"run_id": "run", "step": step, "time": 1.0, "values": values} for step, values in model.items()]
        with store.transaction() as connection:
            connection.execute(sa.insert(tables.series), rows)
        check(store, "run", model, 5, 2990, 10)
        assert store.series.names("run") == list(NAMES)

        for step in range(3000, 3005):
            write(store, "run", model, {step: wave(step)})
            check(store, "run", model, 5, 3001, 10)

        with store.transaction() as connection:
            progress = connection.execute(sa.select(tables.series_progress.c.summarised_to)).scalar_one()
        assert progress % 16 == 0
        assert progress >= 2900


def test_names_are_known_whether_summarised_or_not() -> None:
    with new_store() as store:
        assert store.series.names("run") == []
        store.series.add("run", [SeriesRow(0, 1.0, {"early": 1.0, "never": None})])
        store.series.add("run", [SeriesRow(step, 1.0, {"loss": 1.0}) for step in range(1, 500)])
        store.series.add("run", [SeriesRow(500, 1.0, {"new": 1.0})])
        store.series.add("run", [SeriesRow(3, 1.0, {"late": 1.0})])

        assert store.series.names("run") == ["early", "late", "loss", "never", "new"]
        assert store.series.span("run") == (0, 500)
        assert store.series.span("other") is None


def test_a_name_that_only_later_steps_had_is_gone_with_them() -> None:
    with new_store() as store:
        store.series.add("run", [SeriesRow(step, 1.0, {"loss": 1.0}) for step in range(300)])
        store.series.add("run", [SeriesRow(step, 1.0, {"loss": 1.0, "new": 1.0}) for step in range(300, 600)])

        store.move_to_branch("run", 299, "old")
        assert store.series.names("old") == ["loss", "new"]
        assert store.series.names("run") == ["loss"]
        store.series.add("run", [SeriesRow(step, 1.0, {"newer": 1.0}) for step in range(300, 600)])
        assert store.series.names("run") == ["loss", "newer"]


def test_values_without_bounds_of_their_own_have_a_mean_within_them() -> None:
    with new_store() as store:
        store.series.add("run", [SeriesRow(step, 1.0, {"loss": 1.7e308}) for step in range(200)])

        assert {bucket.mean for bucket in store.series.envelope("run", ["loss"], 0, 199, 10)["loss"]} == {1.7e308}


def test_log_points_beyond_a_step_come_in_pages(long_run: Store) -> None:
    assert [row.step for row in long_run.series.find_after("run", 19_990, 5)] == [
        19_991,
        19_992,
        19_993,
        19_994,
        19_995,
    ]
    assert long_run.series.find_after("run", 19_999, 5) == []

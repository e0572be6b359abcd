"""Active time stands still while this process is stopped, whoever looks first afterwards."""

import time

import pytest

from service.run.active_time import STOPPED_SECONDS, Spans, StopMeter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def meter(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> StopMeter:
    """A meter whose thread does not look: the test does."""
    meter = StopMeter()
    monkeypatch.setattr("service.background_thread.BackgroundThread.start", lambda _thread: None)
    meter.start()
    return meter


def test_a_stop_is_no_active_time_already_when_it_is_asked_for_first(clock: list[float], meter: StopMeter) -> None:
    begun = meter.now()
    clock[0] += 1
    meter.look()

    clock[0] += 3600

    assert meter.now() - begun == 1
    assert meter.stopped_seconds() == 3600
    assert meter.stopped_seconds_since(2800.0) == clock[0] - 2800.0
    clock[0] += 1
    assert meter.now() - begun == 2


def test_a_busy_machine_is_no_stop(clock: list[float], meter: StopMeter) -> None:
    for _ in range(100):
        clock[0] += STOPPED_SECONDS
        meter.look()

    assert meter.stopped_seconds() == 0


def test_without_a_thread_that_looks_active_time_is_the_monotonic_clock(clock: list[float]) -> None:
    meter = StopMeter()
    meter.now()
    clock[0] += 3600

    assert meter.now() == clock[0]


def test_after_the_measurement_nothing_is_measured(clock: list[float]) -> None:
    meter = StopMeter()
    with meter.measuring():
        clock[0] += 3600
        assert meter.stopped_seconds() == 3600

    clock[0] += 3600
    assert meter.stopped_seconds() == 3600


def test_only_the_part_of_a_span_after_a_moment_counts_and_overlaps_count_once() -> None:
    spans = Spans()
    spans.add(100.0, 110.0)
    spans.add(20.0, 50.0)
    spans.add(30.0, 60.0)

    assert spans.seconds_since(0.0) == 50.0
    assert spans.seconds_since(55.0) == 15.0
    assert spans.seconds_since(105.0) == 5.0
    assert spans.seconds_since(300.0) == 0.0

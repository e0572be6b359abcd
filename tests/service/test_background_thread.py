"""A thread beside the main work: when its turns come, what an error does to it, how it ends."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service import background_thread
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem, retry_while

WAIT_SECONDS = 30.0
logger = logging.getLogger(__name__)


class Work:
    """Counts its turns; may raise, or wait for a gate, in each."""

    def __init__(self) -> None:
        self.turns = 0
        self.error: Exception | None = None
        self.gate: threading.Event | None = None
        self.thread: threading.Thread | None = None
        self._has_turned = threading.Condition()

    def turn(self) -> None:
        with self._has_turned:
            self.turns += 1
            self.thread = threading.current_thread()
            self._has_turned.notify_all()
        if self.gate is not None:
            self.gate.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error

    def wait_for_turn(self, number: int) -> None:
        with self._has_turned:
            assert self._has_turned.wait_for(lambda: self.turns >= number, WAIT_SECONDS)


Begin = Callable[..., BackgroundThread]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def begin(work: Work) -> Iterator[Begin]:
    """Start a thread that does `work`; it is closed after the test."""
    made: list[BackgroundThread] = []

    def start(**options: Any) -> BackgroundThread:
        chosen = {"boundary": ErrorBoundary(logger), "error_message": "The work failed; it goes on.", **options}
        thread = BackgroundThread("worker", work.turn, **chosen)
        made.append(thread)
        thread.start()
        return thread

    yield start
    if work.gate is not None:
        work.gate.set()
    for thread in made:
        thread.close()


def test_turns_come_until_the_thread_is_closed_and_none_afterwards(begin: Begin, work: Work) -> None:
    thread = begin(interval_seconds=0.001)
    work.wait_for_turn(3)
    assert work.thread is not None
    assert (work.thread.name, work.thread.daemon) == ("worker", True)
    assert not thread.is_closing

    thread.close()

    turns = work.turns
    thread.wake()
    assert thread.is_closing
    assert not work.thread.is_alive()
    assert work.turns == turns


def test_without_an_interval_a_turn_comes_only_when_the_thread_is_woken(begin: Begin, work: Work) -> None:
    ended = threading.Event()
    thread = begin(at_end=ended.set)
    thread.wake()
    work.wait_for_turn(1)
    thread.wake()
    work.wait_for_turn(2)
    thread.close()

    assert work.turns == 2
    assert ended.is_set()


def test_a_thread_that_is_woken_during_a_turn_makes_another(begin: Begin, work: Work) -> None:
    work.gate = threading.Event()
    thread = begin()
    thread.wake()
    work.wait_for_turn(1)

    thread.wake()
    work.gate.set()

    work.wait_for_turn(2)


@pytest.mark.parametrize(("runs_immediately", "turns"), [(True, 1), (False, 0)])
def test_the_first_turn_comes_before_the_first_wait_only_where_that_is_wanted(
    begin: Begin, work: Work, runs_immediately: bool, turns: int
) -> None:
    thread = begin(interval_seconds=3600.0, runs_immediately=runs_immediately)
    work.wait_for_turn(turns)

    thread.close()

    assert work.turns == turns


def test_an_error_is_logged_with_its_traceback_and_the_next_turn_comes(
    begin: Begin, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.error = KeyError("who expected that")
    thread = begin(interval_seconds=0.001)
    work.wait_for_turn(3)
    thread.close()

    assert {record.message for record in caplog.records} == {"The work failed; it goes on."}
    assert len(caplog.records) == work.turns
    assert "who expected that" in caplog.text
    assert "in turn" in caplog.text


def test_a_boundary_logs_an_error_of_one_kind_once_where_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    boundary = ErrorBoundary(logger, once=True)
    for error in (KeyError("a"), KeyError("b"), ValueError("c")):
        for run in ("one", "two"):
            with boundary.guard("Run %s failed.", run):
                raise error

    assert [(record.message, record.exc_info[0]) for record in caplog.records if record.exc_info] == [
        ("Run one failed.", KeyError),
        ("Run two failed.", KeyError),
        ("Run one failed.", ValueError),
        ("Run two failed.", ValueError),
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_boundary_lets_the_end_of_the_process_through(error: type[BaseException]) -> None:
    with pytest.raises(error), ErrorBoundary(logger).guard("It failed."):
        raise error


def test_closing_waits_for_the_present_turn_and_for_the_last_act(begin: Begin, work: Work) -> None:
    acts: list[str] = []
    work.gate = threading.Event()
    thread = begin(runs_immediately=True, at_end=lambda: acts.append(threading.current_thread().name))
    work.wait_for_turn(1)
    closing = threading.Thread(target=thread.close)
    closing.start()
    assert acts == []

    work.gate.set()
    closing.join(WAIT_SECONDS)

    assert acts == ["worker"]
    assert not closing.is_alive()


def test_closing_a_thread_that_hangs_gives_up_after_its_time(begin: Begin, work: Work) -> None:
    work.gate = threading.Event()
    thread = begin(runs_immediately=True)
    work.wait_for_turn(1)

    thread.close(timeout_seconds=0.001)

    assert work.thread is not None
    assert work.thread.is_alive()


def test_an_error_in_the_last_act_is_logged_too(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    begin(at_end=fail).close()

    assert "the disk is gone" in caplog.text


def test_a_thread_that_was_never_started_can_be_closed(work: Work) -> None:
    thread = BackgroundThread("worker", work.turn, boundary=ErrorBoundary(logger), error_message="It failed.")

    thread.close()

    assert thread.is_closing
    assert work.turns == 0


def test_a_thread_ends_by_itself_once_it_is_over(begin: Begin, work: Work) -> None:
    over, ended = threading.Event(), threading.Event()
    begin(interval_seconds=3600.0, tick_seconds=0.001, runs_immediately=True, is_over=over.is_set, at_end=ended.set)
    work.wait_for_turn(1)

    over.set()

    assert ended.wait(WAIT_SECONDS)
    assert work.turns == 1


def test_what_is_over_before_it_begins_makes_no_turn(begin: Begin, work: Work) -> None:
    ended = threading.Event()

    begin(interval_seconds=0.001, runs_immediately=True, is_over=lambda: True, at_end=ended.set)

    assert ended.wait(WAIT_SECONDS)
    assert work.turns == 0


def test_a_thread_that_was_over_once_ends_though_it_would_not_be_over_any_more(begin: Begin, work: Work) -> None:
    """Its owner has started another one since."""
    answers = iter([True])
    asked: list[bool] = []

    def is_over() -> bool:
        asked.append(next(answers, False))
        return asked[-1]

    ended = threading.Event()
    begin(interval_seconds=0.01, runs_immediately=True, is_over=is_over, at_end=ended.set)

    assert ended.wait(WAIT_SECONDS)
    assert (work.turns, asked) == (0, [True])


def test_a_lasting_trouble_begins_once_and_ends_once() -> None:
    trouble = OngoingProblem()

    assert [trouble.end(), trouble.begin(), trouble.begin(), trouble.is_active] == [False, True, False, True]
    assert [trouble.end(), trouble.end(), trouble.is_active, trouble.begin()] == [True, False, False, True]


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(background_thread, "time", clock)
    return clock


def test_the_last_chance_is_used_until_nothing_is_left(clock: Clock) -> None:
    waiting = ["a", "b", "c"]

    retry_while(waiting.pop, is_wanted=lambda: bool(waiting), seconds=10.0, pause_seconds=0.5)

    assert waiting == []
    assert clock.sleeps == [0.5, 0.5]


def test_the_last_chance_is_given_up_after_its_time(clock: Clock) -> None:
    attempts: list[float] = []

    retry_while(lambda: attempts.append(clock.now), is_wanted=lambda: True, seconds=2.0, pause_seconds=0.5)

    assert attempts == [100.0, 100.5, 101.0, 101.5]


def test_where_nothing_is_left_nothing_is_attempted(clock: Clock) -> None:
    attempts: list[float] = []

    retry_while(lambda: attempts.append(clock.now), is_wanted=lambda: False, seconds=2.0, pause_seconds=0.5)

    assert attempts == []

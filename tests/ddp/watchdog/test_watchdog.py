"""Who is named, when, and by what; and that the watch survives everything."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ddp.distributed.status_store import LocalStatusStore, StatusStore, StatusStoreUnavailableError
from ddp.watchdog import watchdog as watchdog_module
from ddp.watchdog.rank_status import MAX_GAP_SECONDS, RankReport, RankStatus, RankStatusTable
from ddp.watchdog.stack_dump import MAX_BYTES, thread_stack
from ddp.watchdog.stages import Stage, StageMarker
from ddp.watchdog.stall_detection import Stall, StallTracker, find_stall
from ddp.watchdog.watchdog import MAX_MISSED_REPORTS, Watchdog
from tests.ddp.harness.store_serving import ServeStore, store_board
from tests.harness.forked import Process, StartPython

PROGRAM = ("-m", "tests.ddp.harness.rank_programs.watched")
LIMIT = 60.0
PLACE = (0, "gpu-07", "cuda:0")
TURN = 0.02


def status(rank: int, stage: Stage, seconds: float = 0.0, *, silent: float = 0.5, step: int | None = 512) -> RankStatus:
    return RankStatus(rank, "gpu-07", 100 + rank, f"cuda:{rank}", stage, step, seconds, silent, None, None)


def unheard(rank: int, seconds: float) -> RankStatus:
    return RankStatus(rank, None, None, None, Stage.STARTING, None, seconds, seconds, None, None)


# Who is to blame

CASES: list[tuple[str, list[RankStatus], int | None, str]] = [
    (
        "one in data",
        [status(0, Stage.ALL_REDUCE, 61.0), status(1, Stage.DATA, 62.0)],
        1,
        "Rank 1 (gpu-07) has been in stage data for 62 s at step 512; rank 0 waits for it in all-reduce.",
    ),
    (
        "one in data, others in different collectives",
        [status(0, Stage.LOG, 10.0), status(1, Stage.DATA, 62.0), status(2, Stage.ALL_REDUCE, 61.0)],
        1,
        "Rank 1 (gpu-07) has been in stage data for 62 s at step 512; the others wait for it in log, all-reduce.",
    ),
    (
        "two in data",
        [status(0, Stage.DATA, 61.0), status(1, Stage.DATA, 62.0), status(2, Stage.ALL_REDUCE, 9.0)],
        0,
        "Rank 0 (gpu-07) has been in stage data for 61 s at step 512, and so has rank 1; "
        "rank 2 waits for them in all-reduce.",
    ),
    (
        "all in data",
        [status(rank, Stage.DATA, 62.0 - rank, step=None) for rank in range(2)],
        0,
        "Rank 0 (gpu-07) has been in stage data for 62 s, and so has rank 1.",
    ),
    (
        "a checkpoint that hangs",
        [status(0, Stage.CHECKPOINT, 70.0), status(1, Stage.COMMAND, 70.0)],
        0,
        "Rank 0 (gpu-07) has been in stage checkpoint for 70 s at step 512; rank 1 waits for it in command.",
    ),
    (
        "a frozen process",
        [status(0, Stage.ALL_REDUCE, 59.0), status(1, Stage.FORWARD, 0.1, silent=61.0)],
        1,
        "Rank 1 (gpu-07) has been silent for 61 s, last in stage forward at step 512: frozen, cut off or gone; "
        "rank 0 waits for it in all-reduce.",
    ),
    (
        "frozen before slow",
        [status(0, Stage.DATA, 200.0), status(1, Stage.ALL_REDUCE, 0.1, silent=61.0)],
        1,
        "Rank 1 (gpu-07) has been silent for 61 s, last in stage all-reduce at step 512: frozen, cut off or gone.",
    ),
    (
        "frozen while paused",
        [status(0, Stage.PAUSED, 900.0), status(1, Stage.PAUSED, 800.0, silent=100.0)],
        1,
        "Rank 1 (gpu-07) has been silent for 100 s, last in stage paused at step 512: frozen, cut off or gone.",
    ),
    (
        "never heard of",
        [status(0, Stage.STARTING, 59.0, step=None), unheard(1, 61.0)],
        1,
        "Rank 1 has been silent for 61 s: frozen, cut off or gone.",
    ),
    (
        "all in one collective",
        [status(0, Stage.ALL_REDUCE, 75.0), status(1, Stage.ALL_REDUCE, 74.0)],
        None,
        "All ranks have waited in all-reduce for 74 s at step 512; "
        "look at the network between them and at their devices.",
    ),
    (
        "in different collectives",
        [status(0, Stage.LOG, 75.0), *(status(rank, Stage.ALL_REDUCE, 74.0) for rank in range(1, 11))],
        None,
        "All ranks have waited for each other in different stages for 74 s: rank 0 in log; "
        "ranks 1, 2, 3, 4, 5, 6, 7, 8 and 2 more in all-reduce.",
    ),
    (
        "some paused and some not",
        [status(0, Stage.COMMAND, 62.0), status(1, Stage.PAUSED, 5.0)],
        None,
        "All ranks have waited for each other in different stages for 62 s: rank 0 in command; rank 1 in paused.",
    ),
    (
        "alone in what would be a collective",
        [status(0, Stage.LOG, 62.0)],
        0,
        "Rank 0 (gpu-07) has been in stage log for 62 s at step 512.",
    ),
    (
        "held up by one that is leaving",
        [status(0, Stage.ALL_REDUCE, 62.0), status(1, Stage.LEAVING, 62.0)],
        1,
        "Rank 1 (gpu-07) has been in stage leaving for 62 s at step 512; rank 0 waits for it in all-reduce.",
    ),
]

HARMLESS = {
    "nobody is slow": [status(0, Stage.DATA, 59.0), status(1, Stage.ALL_REDUCE, 59.0)],
    "all are paused": [status(0, Stage.PAUSED, 9000.0), status(1, Stage.PAUSED, 9000.0)],
    "one waits for another's progress": [status(0, Stage.LOG, 300.0), status(1, Stage.VALIDATION, 12.0)],
    "the last has only just come": [status(0, Stage.ALL_REDUCE, 300.0), status(1, Stage.ALL_REDUCE, 0.1)],
    "one has left": [status(0, Stage.CHECKPOINT, 10.0), status(1, Stage.LEAVING, 0.0, silent=300.0)],
    "alone and paused": [status(0, Stage.PAUSED, 300.0)],
    "nothing is known": [],
}


@pytest.mark.parametrize(
    ("statuses", "rank", "sentence"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_culprit_is_named(statuses: list[RankStatus], rank: int | None, sentence: str) -> None:
    stall = find_stall(statuses, LIMIT, LIMIT)

    assert stall is not None
    assert (stall.rank, stall.message) == (rank, sentence)


@pytest.mark.parametrize("statuses", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_stall_is_not_called_one(statuses: list[RankStatus]) -> None:
    assert find_stall(statuses, LIMIT, LIMIT) is None


def learnt(status: RankStatus, stage_seconds: float | None, silence_seconds: float | None = None) -> RankStatus:
    return replace(status, stage_limit_seconds=stage_seconds, silence_limit_seconds=silence_seconds)


def test_a_limit_that_was_learnt_counts_for_the_rank_and_the_stage_of_which_it_was_learnt() -> None:
    waiting = learnt(status(0, Stage.ALL_REDUCE, 9.0), 2.25)
    hanging = status(1, Stage.DATA, 9.0)

    assert find_stall([waiting, hanging], LIMIT, LIMIT) is None
    stall = find_stall([waiting, learnt(hanging, 8.5)], LIMIT, LIMIT)

    assert stall is not None
    assert (stall.rank, stall.limit_seconds, stall.is_silent) == (1, 8.5, False)
    assert find_stall([waiting, learnt(hanging, 9.5)], LIMIT, LIMIT) is None


def test_the_setting_is_the_upper_bound_of_what_was_learnt() -> None:
    hanging = [learnt(status(0, Stage.FORWARD, 61.0), 500.0, 500.0)]

    stall = find_stall(hanging, LIMIT, LIMIT)

    assert stall is not None
    assert stall.limit_seconds == LIMIT


def test_ranks_that_wait_for_each_other_are_named_by_the_longest_of_their_limits() -> None:
    ranks = [learnt(status(0, Stage.LOG, 5.0), 2.25), learnt(status(1, Stage.ALL_REDUCE, 5.0), 6.0)]

    assert find_stall(ranks, LIMIT, LIMIT) is None
    stall = find_stall([ranks[0], learnt(ranks[1], 4.0)], LIMIT, LIMIT)
    assert stall is not None
    assert stall.rank is None


def test_a_rank_that_waits_for_rank_0_to_write_a_checkpoint_is_not_named() -> None:
    writing, waiting = status(0, Stage.CHECKPOINT, 20.0), learnt(status(1, Stage.CHECKPOINT, 20.0), 2.25)

    assert find_stall([writing, waiting], LIMIT, LIMIT) is None


@pytest.mark.parametrize(("stage", "is_named"), [(Stage.DATA, True), (Stage.PAUSED, True), (Stage.STARTING, False)])
def test_how_long_a_rank_may_be_silent_is_learnt_for_all_but_its_start(stage: Stage, is_named: bool) -> None:
    silent = learnt(status(1, stage, 0.1, silent=3.0), None, 2.25)

    stall = find_stall([status(0, Stage.ALL_REDUCE, 3.0), silent], LIMIT, LIMIT)

    assert (stall is not None and stall.is_silent and stall.limit_seconds == 2.25) is is_named


def test_a_stall_is_said_once_and_its_end_once() -> None:
    news = StallTracker()
    waiting = status(0, Stage.ALL_REDUCE, 61.0)

    first = news.changes(find_stall([waiting, status(1, Stage.DATA, 61.0)], LIMIT, LIMIT), now=1000.0)
    assert [(stall.rank, stall.is_resolved) for stall in first] == [(1, False)]
    assert news.changes(find_stall([waiting, status(1, Stage.DATA, 65.0)], LIMIT, LIMIT), now=1004.0) == []

    (end,) = news.changes(find_stall([waiting, status(1, Stage.FORWARD, 0.1)], LIMIT, LIMIT), now=1014.0)
    assert (end.rank, end.stage, end.is_resolved, end.seconds) == (1, Stage.DATA, True, 75.0)
    assert end.message == "Rank 1 (gpu-07) goes on after 75 s."
    assert news.changes(None, now=1015.0) == []


def test_a_rank_that_hangs_too_makes_no_new_stall() -> None:
    news = StallTracker()
    news.changes(find_stall([status(0, Stage.DATA, 59.5), status(1, Stage.DATA, 61.0)], LIMIT, LIMIT), now=1000.0)

    later = find_stall([status(0, Stage.DATA, 60.5), status(1, Stage.DATA, 62.0)], LIMIT, LIMIT)

    assert later is not None
    assert (later.rank, later.also) == (0, (1,))
    assert news.changes(later, now=1001.0) == []


def test_another_culprit_ends_the_first_stall_and_is_named_itself() -> None:
    news = StallTracker()
    news.changes(find_stall([status(0, Stage.COMMAND, 61.0), status(1, Stage.COMMAND, 61.0)], LIMIT, LIMIT), now=1000.0)

    found = find_stall([status(0, Stage.DATA, 61.0), status(1, Stage.ALL_REDUCE, 61.0)], LIMIT, LIMIT)

    sentences = [stall.message for stall in news.changes(found, now=1070.0)]
    assert sentences[0] == "All ranks go on after 131 s."
    assert sentences[1].startswith("Rank 0 (gpu-07) has been in stage data for 61 s")
    assert len(sentences) == 2


# What rank 0 keeps of every rank


def post(number: int, stack: str = "", stage: Stage = Stage.DATA) -> str:
    return RankReport(number, "gpu-08", 4711, "cuda:1", stage, 512, 3.5, 0.0, stack, 2.0).encode()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, for the test to set."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_silence_counts_from_the_last_post_that_differs(now: list[float]) -> None:
    rank_table = RankStatusTable()
    for text in (None, post(1), post(2), post(2), post(2)):
        now[0] += 1
        rank_table.update([text])

    (seen,) = rank_table.statuses()

    assert (seen.host, seen.pid, seen.stage, seen.step, seen.stage_seconds) == ("gpu-08", 4711, Stage.DATA, 512, 3.5)
    assert seen.silent_seconds == 2.0


def test_a_rank_that_never_posted_is_starting_for_as_long_as_was_listened(now: list[float]) -> None:
    rank_table = RankStatusTable()
    for _ in range(4):
        now[0] += 1
        rank_table.update([post(1), None])

    seen = rank_table.statuses()[1]

    assert (seen.stage, seen.host, seen.stage_seconds, seen.silent_seconds) == (Stage.STARTING, None, 4.0, 4.0)


def test_time_in_which_rank_0_was_frozen_itself_is_nobodys_silence(now: list[float]) -> None:
    rank_table = RankStatusTable()
    rank_table.update([post(1)])
    now[0] += 500

    rank_table.update([post(1)])

    assert rank_table.statuses()[0].silent_seconds == MAX_GAP_SECONDS


def silent_after(
    now: list[float], gaps: Sequence[float], *, is_settled: bool = True, stopped: float = 0.0
) -> float | None:
    """The limit of silence of a rank whose reports came after these times; it was stopped for one of them."""
    rank_table, stopped_seconds = RankStatusTable(max_gap_seconds=0.5), 0.0
    for number, gap in enumerate(gaps):
        for _ in range(round(gap / 0.25)):
            now[0] += 0.25
            rank_table.update([rank_table_text(number - 1, stopped_seconds, is_settled)] if number else [None])
        stopped_seconds += gap if gap == stopped else 0.0
        rank_table.update([rank_table_text(number, stopped_seconds, is_settled)])
    return rank_table.statuses()[0].silence_limit_seconds


def rank_table_text(number: int, stopped_seconds: float, is_settled: bool) -> str:
    return RankReport(
        number, "gpu-08", 4711, "cuda:1", Stage.DATA, 512, 0.1, stopped_seconds, "", 2.0, 0.01, is_settled
    ).encode()


def test_how_long_a_rank_may_be_silent_follows_from_how_often_it_reports(now: list[float]) -> None:
    assert silent_after(now, [0.25] * 200) == 2.25
    assert silent_after(now, [0.25] * 20) is None
    assert silent_after(now, [0.25] * 200, is_settled=False) is None

    busy = silent_after(now, [0.25, 0.5, 1.5] * 60)
    assert busy is not None
    assert 4.5 <= busy <= 6.0


def test_a_time_in_which_a_rank_was_stopped_makes_it_no_slower_to_be_missed(now: list[float]) -> None:
    assert silent_after(now, [*[0.25] * 100, 9.0, *[0.25] * 100], stopped=9.0) == 2.25


def test_a_reader_that_hardly_runs_calls_nobody_silent(now: list[float]) -> None:
    """Its machine is overloaded, and each look comes four seconds after the one before."""
    rank_table = RankStatusTable(max_gap_seconds=0.5)
    rank_table.update([post(1)])
    for _ in range(4):
        now[0] += 4
        rank_table.update([post(1)])

    assert rank_table.statuses()[0].silent_seconds == 2.0


def test_the_limit_of_a_stage_comes_from_its_own_rank(now: list[float]) -> None:
    rank_table = RankStatusTable()
    now[0] += 1
    rank_table.update([rank_table_text(1, 0.0, True), post(1)])

    assert [status.stage_limit_seconds for status in rank_table.statuses()] == [2.25, None]


def test_the_age_of_a_stack_includes_the_silence_after_it(now: list[float]) -> None:
    rank_table = RankStatusTable()
    for _ in range(3):
        now[0] += 1
        rank_table.update([post(1, stack="line\n"), post(1)])

    first, second = rank_table.statuses()

    assert (first.stack, first.stack_age_seconds) == ("line\n", 4.0)
    assert (second.stack, second.stack_age_seconds) == (None, None)


# The stack


def test_the_stack_of_a_thread_names_where_it_is_innermost_last() -> None:
    with blocked_thread() as thread_id:
        stack = thread_stack(thread_id)

    assert "in waits_for_the_loader\n" in stack
    assert stack.index("in waits_for_the_loader\n") < stack.index("in wait\n")


def test_a_deep_stack_keeps_its_innermost_calls_within_the_limit() -> None:
    def dive(depth: int) -> str:
        return sink(depth - 1) if depth else thread_stack(threading.get_ident())

    def sink(depth: int) -> str:
        return dive(depth - 1)  # in turns, and with long lines: a stack shows repeated calls of one function only once

    stack = dive(400)

    assert 1000 < len(stack.encode()) <= MAX_BYTES
    assert "thread_stack(threading.get_ident())" in stack.splitlines()[-3]  # only `thread_stack` itself is further in
    assert stack.startswith("  File ")


def test_a_thread_that_has_ended_has_no_stack() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

    assert thread_stack(thread.ident or 0) == ""


def waits_for_the_loader(started: Callable[[], object], end: threading.Event) -> None:
    started()
    end.wait()


@contextmanager
def blocked_thread(also: Callable[[], object] = int) -> Iterator[int]:
    """A thread that first does something and then waits in a function whose name tests know; yields its id."""
    started, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=waits_for_the_loader, args=(lambda: (also(), started.set()), end))
    thread.start()
    started.wait()
    # Until the thread has left `started` and waits.
    while "in waits_for_the_loader\n" not in thread_stack(thread.ident or 0).split("end.wait()")[0]:
        time.sleep(0.001)
    try:
        yield thread.ident or 0
    finally:
        end.set()
        thread.join()


# The watchdog


class Watch:
    """A watchdog of rank 0 and what it said. `limit` can be changed while it runs."""

    def __init__(self, status_store: StatusStore, marker: StageMarker) -> None:
        self.limit = LIMIT
        self.reports: list[Sequence[RankStatus]] = []
        self.stalls: list[Stall] = []
        self.dog = Watchdog(
            marker,
            status_store,
            PLACE,
            lambda: self.limit,
            self.reports.append,
            self.stalls.append,
            interval_seconds=TURN,
        )

    def __enter__(self) -> "Watch":
        self.dog.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.dog.close()

    def last(self) -> Sequence[RankStatus]:
        return self.reports[-1] if self.reports else ()


def test_a_thread_that_hangs_is_named_with_its_stage_and_stack(eventually: Callable[..., None]) -> None:
    marker = StageMarker()
    marker.enter(Stage.DATA, step=512)
    watches: list[Watch] = []
    with blocked_thread(lambda: watches.append(Watch(LocalStatusStore(), marker))), watches[0] as watch:
        watch.limit = 0.2
        eventually(lambda: watch.stalls, what="a stall")
        eventually(lambda: "waits_for_the_loader" in (watch.last()[0].stack or ""), what="the stack")

    assert (watch.stalls[0].rank, watch.stalls[0].stage) == (0, Stage.DATA)
    assert watch.stalls[0].message.startswith("Rank 0 (gpu-07) has been in stage data for 0 s at step 512")
    seen = watch.last()[0]
    assert (seen.rank, seen.host, seen.pid, seen.device, seen.step) == (0, "gpu-07", os.getpid(), "cuda:0", 512)
    assert watch.stalls[1:] == []


@pytest.mark.parametrize(("lasting_seconds", "stack_seconds"), [(0.05, 1e9), (1e9, 0.05)])
def test_a_stack_is_fresh_when_the_stage_lasts_or_the_last_is_old(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None], lasting_seconds: float, stack_seconds: float
) -> None:
    monkeypatch.setattr(watchdog_module, "LONG_STAGE_SECONDS", lasting_seconds)
    monkeypatch.setattr(watchdog_module, "STACK_SECONDS", stack_seconds)
    watches: list[Watch] = []

    def hangs_somewhere_else_first() -> None:
        watch = Watch(LocalStatusStore(), StageMarker())
        watch.dog.start()
        watches.append(watch)
        eventually(lambda: "hangs_somewhere_else_first" in stack(), what="a first stack")

    def stack() -> str:
        return (watches[0].last()[0].stack or "") if watches[0].last() else ""

    with blocked_thread(hangs_somewhere_else_first):
        eventually(lambda: "hangs_somewhere_else_first" not in stack(), what="a second stack")
        assert "waits_for_the_loader" in stack()
    watches[0].dog.close()


def test_a_rank_that_misses_a_post_or_two_is_not_called_silent_however_small_the_limit(
    eventually: Callable[..., None],
) -> None:
    class Stale(LocalStatusStore):
        """A board with a second rank that posted once."""

        def read_all(self) -> list[str | None]:
            return [*super().read_all(), post(1, stage=Stage.PAUSED)]

    marker = StageMarker()
    marker.enter(Stage.PAUSED)
    with Watch(Stale(), marker) as watch:
        watch.limit = 0.0
        eventually(lambda: watch.stalls, what="silence")

    assert "has been silent" in watch.stalls[0].message
    assert watch.stalls[0].seconds > MAX_MISSED_REPORTS * TURN


def test_going_on_is_said(eventually: Callable[..., None]) -> None:
    marker = StageMarker()
    marker.enter(Stage.CHECKPOINT, step=9)
    with Watch(LocalStatusStore(), marker) as watch:
        watch.limit = 0.1
        eventually(lambda: watch.stalls, what="a stall")

        marker.enter(Stage.PAUSED)

        eventually(lambda: len(watch.stalls) == 2, what="its end")
    assert (watch.stalls[1].stage, watch.stalls[1].is_resolved) == (Stage.CHECKPOINT, True)


def test_a_limit_that_is_changed_holds_from_the_next_turn_on(eventually: Callable[..., None]) -> None:
    marker = StageMarker()
    with Watch(LocalStatusStore(), marker) as watch:
        eventually(lambda: len(watch.reports) > 10, what="ten turns")
        assert watch.stalls == []

        watch.limit = 0.01

        eventually(lambda: watch.stalls, what="a stall")


@contextmanager
def other_rank(port: int, start_python: StartPython) -> Iterator[Process]:
    """Rank 1 in a process of its own."""
    with start_python([sys.executable, *PROGRAM, str(port)], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def ask_to_leave(other: Process) -> None:
    assert other.stdin is not None
    other.stdin.close()
    assert other.wait(timeout=60) == 0


def makes_steps(watch: Watch, rank: int) -> bool:
    return bool(watch.last()) and watch.last()[rank].stage is Stage.FORWARD


def test_a_frozen_rank_is_named_silent_and_its_return_is_said(
    serving_store: ServeStore, start_python: StartPython, eventually: Callable[..., None]
) -> None:
    marker = StageMarker()
    marker.enter(Stage.ALL_REDUCE, step=512)
    with (
        serving_store() as server,
        other_rank(server.port, start_python) as frozen,
        Watch(store_board(server.port, 0, 2), marker) as watch,
    ):
        eventually(lambda: makes_steps(watch, 1), what="rank 1 on the board")
        assert watch.stalls == []
        frozen.send_signal(signal.SIGSTOP)
        watch.limit = 1.0
        eventually(lambda: watch.stalls, what="the silence of rank 1")
        frozen.send_signal(signal.SIGCONT)
        eventually(lambda: len(watch.stalls) == 2, what="its return")

    named, ended = watch.stalls
    assert named.rank == 1
    assert named.message.startswith("Rank 1 (gpu-07) has been silent for 1 s, last in stage forward at step 512")
    assert "; rank 0 waits for it in all-reduce. By their stacks, rank 1 is stopped by a signal, last" in named.message
    assert ended.is_resolved


def test_a_rank_that_leaves_says_goodbye_and_is_not_missed(
    serving_store: ServeStore, start_python: StartPython, eventually: Callable[..., None]
) -> None:
    marker = StageMarker()
    marker.enter(Stage.PAUSED)
    with (
        serving_store() as server,
        other_rank(server.port, start_python) as other,
        Watch(store_board(server.port, 0, 2), marker) as watch,
    ):
        eventually(lambda: makes_steps(watch, 1), what="rank 1 on the board")
        ask_to_leave(other)
        watch.limit = 0.2
        eventually(lambda: watch.last()[1].silent_seconds > 0.5, what="rank 1 to be silent")

        assert watch.last()[1].stage is Stage.LEAVING
        assert watch.stalls == []


def test_a_frozen_store_holds_up_nobodys_end(
    serving_store: ServeStore, start_python: StartPython, eventually: Callable[..., None]
) -> None:
    with (
        serving_store() as server,
        other_rank(server.port, start_python) as other,
        Watch(store_board(server.port, 0, 2), StageMarker()) as watch,
    ):
        eventually(lambda: makes_steps(watch, 1), what="rank 1 on the board")
        server.freeze()
        try:
            ask_to_leave(other)
            watch.dog.close()
        finally:
            server.thaw()


def test_a_board_that_dies_is_said_once_and_the_watch_goes_on(
    eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    class Mortal(LocalStatusStore):
        """A board that can be taken away and brought back."""

        is_gone = False
        asked = 0

        def publish(self, text: str) -> None:
            self.asked += 1
            if self.is_gone:
                raise StatusStoreUnavailableError("Broken pipe")
            super().publish(text)

    status_store = Mortal()
    with caplog.at_level(logging.WARNING), Watch(status_store, StageMarker()) as watch:
        eventually(lambda: watch.reports, what="a report")
        status_store.is_gone = True
        before = status_store.asked
        eventually(lambda: status_store.asked > before + 5, what="more turns")
        status_store.is_gone = False
        reports = len(watch.reports)
        eventually(lambda: len(watch.reports) > reports + 1, what="reports again")

    (line,) = caplog.messages
    assert "The ranks' board cannot be reached (Broken pipe)" in line
    assert watch.stalls == []


def test_a_report_that_fails_ends_neither_the_watch_nor_the_process(
    eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def report(_: Sequence[RankStatus]) -> None:
        calls.append(1)
        raise ZeroDivisionError

    dog = Watchdog(StageMarker(), LocalStatusStore(), PLACE, lambda: LIMIT, report, None, interval_seconds=0.02)
    dog.start()
    eventually(lambda: len(calls) > 3, what="more turns")
    dog.close()

    assert caplog.messages == ["The watchdog met an unexpected error; it goes on."]


def test_ranks_other_than_0_only_post() -> None:
    status_store = LocalStatusStore()

    class Unread(LocalStatusStore):
        def publish(self, text: str) -> None:
            status_store.publish(text)

        def read_all(self) -> list[str | None]:
            raise AssertionError

    dog = Watchdog(StageMarker(), Unread(), (1, "gpu-07", "cpu"), lambda: LIMIT, None, None)
    dog.start()
    dog.close()

    (text,) = status_store.read_all()
    assert text is not None
    assert RankReport.decode(text).stage is Stage.LEAVING


def test_a_watchdog_that_was_never_started_can_be_closed() -> None:
    Watchdog(StageMarker(), LocalStatusStore(), PLACE, lambda: LIMIT).close()

"""The end of a rank that hangs: when, which, by whom, and that nobody else's process is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from ddp.distributed.status_store import LocalStatusStore
from ddp.watchdog import escalation, processes
from ddp.watchdog.escalation import Escalation
from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stages import Stage
from ddp.watchdog.stall_detection import Stall

HERE = "gpu-07"


def status(rank: int, pid: int | None, host: str | None = HERE) -> RankStatus:
    return RankStatus(rank, host, pid, "cpu", Stage.DATA, 7, 9.0, 0.2, None, None)


def stall(rank: int | None, *also: int, seconds: float = 9.0) -> Stall:
    return Stall(rank, Stage.DATA, seconds, "It hangs.", "Rank", also, limit_seconds=4.0)


@pytest.fixture
def sibling() -> Iterator["subprocess.Popen[str]"]:
    """A process with the same parent as another, stopped; both below this one, as ranks are below their launcher."""
    program = "import os, signal; print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGSTOP)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_it_is_due_after_twice_the_limit_and_only_if_it_is_wanted() -> None:
    wanted, unwanted = (
        Escalation(LocalStatusStore(), (1, HERE), lambda answer=answer: answer)
        for answer in (True, False)  # type: ignore[misc]
    )

    assert [wanted.is_due(stall(1, seconds=seconds)) for seconds in (4.5, 8.0, 8.1)] == [False, False, True]
    assert not unwanted.is_due(stall(1, seconds=100.0))


@pytest.mark.parametrize(
    ("found", "ranks", "beginning"),
    [
        (stall(1), (1,), "Rank 1 is ended after a hang of 9 s (STALL_ACTION=restart)"),
        (stall(0, 2), (0, 2), "Ranks 0 and 2 are ended after a hang of 9 s"),
        (stall(None), (2,), "Rank 2 is ended"),
    ],
    ids=["the one that hangs", "all that hang alike", "the last of those that wait for each other"],
)
def test_who_is_ended_is_told_once(found: Stall, ranks: tuple[int, ...], beginning: str) -> None:
    one = Escalation(LocalStatusStore(), (1, HERE), lambda: True)
    ended = one.begin(found, [status(rank, None) for rank in range(3)])
    told: list[tuple[str, object]] = []

    assert ended is not None
    ended.tell(lambda kind, details: told.append((kind, details["ranks"])))

    assert ended.ranks == ranks
    assert ended.reason.startswith(beginning)
    assert told == [("hang ended", list(ranks))]
    assert one.begin(found, [status(rank, None) for rank in range(3)]) is None


def test_a_stopped_sibling_is_killed_and_ranks_of_other_machines_are_left_to_those_beside_them(
    sibling: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getppid", os.getpid)  # the test stands for the launcher and for the rank beside it
    store = LocalStatusStore()
    one = Escalation(store, (os.getpid(), HERE), lambda: True)
    statuses = [status(0, os.getpid()), status(1, sibling.pid), status(2, 1, "gpu-08")]
    ended = one.begin(stall(1, 2), statuses)
    assert ended is not None

    one.carry_out(ended, statuses)

    assert sibling.wait(timeout=60) == -signal.SIGKILL
    assert json.loads(store.read_order() or "") == [[HERE, sibling.pid], ["gpu-08", 1]]


def test_an_order_is_carried_out_by_a_rank_beside_the_one_that_hangs_if_that_is_set(
    sibling: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getppid", os.getpid)
    store = LocalStatusStore()
    store.give_order(json.dumps([["gpu-08", sibling.pid]]))

    for host, is_wanted in ((HERE, True), ("gpu-08", False)):
        Escalation(store, (os.getpid(), host), lambda answer=is_wanted: answer).obey()  # type: ignore[misc]
        assert sibling.poll() is None
    Escalation(store, (os.getpid(), "gpu-08"), lambda: True).obey()

    assert sibling.wait(timeout=60) == -signal.SIGKILL


def test_a_process_that_is_no_rank_of_the_same_launcher_is_not_killed(sibling: "subprocess.Popen[str]") -> None:
    """Its number may have been given to another program since, or to one in another container."""
    assert not processes.kill(sibling.pid)
    assert not processes.kill(1)
    assert sibling.poll() is None


def test_what_the_kernel_says_of_a_process(sibling: "subprocess.Popen[str]", eventually: Callable[..., None]) -> None:
    eventually(lambda: processes.state_of(sibling.pid) == "stopped by a signal", what="a stopped process")
    sibling.kill()
    eventually(lambda: processes.state_of(sibling.pid) == "dead", what="a dead one")
    sibling.wait()
    assert processes.state_of(sibling.pid) == "gone"


def test_where_the_end_of_another_machines_rank_does_not_come_the_rank_that_ordered_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(processes, "kill", killed.append)
    monkeypatch.setattr(escalation, "ORDER_SECONDS", 0.0)
    one = Escalation(LocalStatusStore(), (4711, HERE), lambda: True)
    assert one.begin(stall(1), [status(1, 5, "gpu-08")]) is not None
    time.sleep(0.001)

    one.begin(stall(1), [status(1, 5, "gpu-08")])

    assert killed == [4711]

"""Tasks in processes of their own."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import psutil
import pytest

from ddp.vsr.prepare.jobs.processes import Crash, run_tasks
from tests.service.harness.children import until

Report = Callable[[float], object]


@dataclass(frozen=True)
class Square:
    number: int

    def __call__(self, report: Report) -> int:
        report(self.number / 2)
        return self.number**2


@dataclass(frozen=True)
class Raising:
    def __call__(self, _report: Report) -> int:
        raise OSError(28, "No space left on device")


@dataclass(frozen=True)
class Dying:
    number: signal.Signals

    def __call__(self, _report: Report) -> int:
        os.kill(os.getpid(), self.number)
        return 0


@dataclass(frozen=True)
class Endless:
    def __call__(self, report: Report) -> int:
        report(os.getpid())
        while True:
            signal.pause()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_gives_its_result_and_its_reports(workers: int) -> None:
    reports: list[tuple[int, float]] = []
    found = dict(run_tasks([Square(n) for n in range(7)], workers, lambda *report: reports.append(report)))

    assert found == {n: n**2 for n in range(7)}
    assert sorted(reports) == [(n, n / 2) for n in range(7)]


def test_a_task_whose_process_dies_costs_itself() -> None:
    tasks = [Square(3), Dying(signal.SIGSEGV), Square(4), Dying(signal.SIGKILL)]
    found = dict(run_tasks(tasks, 2, lambda *_: None))

    assert found == {
        0: 9,
        1: Crash("the process that read it was ended by SIGSEGV"),
        2: 16,
        3: Crash("the process that read it was ended by SIGKILL"),
    }


def test_an_error_of_a_task_is_raised_here_and_ends_the_others() -> None:
    pids: list[float] = []
    with pytest.raises(OSError, match="No space left") as caught:
        list(run_tasks([Endless(), Raising()], 2, lambda _, pid: pids.append(pid)))

    assert caught.value.errno == 28
    assert "test_processes.py" in caught.value.__notes__[0]
    until(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids))


def test_closing_the_iterator_ends_all_tasks() -> None:
    pids: list[float] = []
    with closing(run_tasks([Square(1), Endless(), Endless()], 3, lambda _, pid: pids.append(pid))) as running:
        next(running)
    until(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids))

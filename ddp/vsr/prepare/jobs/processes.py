"""Runs tasks in worker processes, one process for each task, so that a file that crashes a decoder costs one task.

Processes are forks of a server that has imported what they need, and end with the process that runs the tasks. Never
decides what a task does.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar, cast

from ddp.vsr.prepare.video import DECODER_THREADS
from service.launcher.parent_death import end_with_parent
from service.launcher.termination import TERMINATION, how_it_ended

REPORT_SECONDS = 0.25
PRELOADED = ("ddp.vsr.prepare.jobs.cutting", "ddp.vsr.prepare.jobs.surveying")

Report = Callable[[float], object]
"""Called by a task with how much of it is done, in the unit of its phase."""

Result = TypeVar("Result", covariant=True)


class Task(Protocol[Result]):
    """Work of one process; can be pickled."""

    def __call__(self, report: Report) -> Result:
        """Do the work and return the result, which can be pickled."""


@dataclass(frozen=True)
class Crash:
    """A task whose process ended without a result; the reason is a clause about the process."""

    reason: str


def core_count() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    tasks: Sequence[Task[Result]],
    workers: int,
    on_progress: Callable[[int, float], object],
    preloaded: Sequence[str] = PRELOADED,
) -> Iterator[tuple[int, Result | Crash]]:
    """Yield the number and the result of each task as it ends; with one worker in this process, in order.

    `on_progress` gets what tasks report; processes begin with the `preloaded` modules. An error of a task is raised,
    after all processes have ended; so they have if the iterator is closed.
    """
    if workers == 1:
        for number, task in enumerate(tasks):
            yield number, task(partial(on_progress, number))
    elif tasks:
        yield from _in_processes(tasks, workers, on_progress, preloaded)


def _in_processes(
    tasks: Sequence[Task[Result]],
    workers: int,
    on_progress: Callable[[int, float], object],
    preloaded: Sequence[str],
) -> Iterator[tuple[int, Result | Crash]]:
    threads = max(1, workers // len(tasks))
    waiting = deque(enumerate(tasks))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, task = waiting.popleft()
                connection, process = _start(task, threads, preloaded)
                running[connection] = number, process
            for connection in cast("list[Connection]", wait(list(running))):
                number, process = running[connection]
                kind, content = _received(connection, process)
                if kind == "progress":
                    on_progress(number, content)
                    continue
                _end(connection, process)
                del running[connection]
                if kind == "failed":
                    raise content
                yield number, content
    finally:
        for connection, (_, process) in running.items():
            process.kill()
            _end(connection, process)


def _start(task: Task[Any], threads: int, preloaded: Sequence[str]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, theirs, threads), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _received(connection: Connection, process: BaseProcess) -> tuple[str, Any]:
    try:
        kind, content = connection.recv()
    except (EOFError, OSError):  # it ended before, or in the middle of, a message
        process.join()
        return "done", Crash(f"the process that read it {how_it_ended(process.exitcode or 0)}")
    return kind, content


def _end(connection: Connection, process: BaseProcess) -> None:
    process.join()
    connection.close()


def _work(task: Task[Any], connection: Connection, threads: int) -> None:
    """Do a task in a process of its own, which the one that runs the tasks ends, and nobody else."""
    for number in TERMINATION:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
    DECODER_THREADS.set(threads)
    try:
        message = "done", task(_reporter(connection))
    except Exception as error:  # noqa: BLE001  a process begins here; the error is raised where the tasks are run
        error.add_note("".join(traceback.format_exception(error)))
        connection.send(("failed", error))
    else:
        connection.send(message)


def _reporter(connection: Connection) -> Report:
    """Return a function that sends at most one report in REPORT_SECONDS."""
    sent_at = float("-inf")

    def report(done: float) -> None:
        nonlocal sent_at
        now = time.monotonic()
        if now >= sent_at + REPORT_SECONDS:
            sent_at = now
            connection.send(("progress", done))

    return report

"""How each kind of fault is done to a training, and undone where it can be: processes, file calls, clock, memory.

A deed returns when its effect has begun to pass: what is left of it is seen by `Ordeal.settle`. It returns False where
it found nothing to act on, such as a call that was not made within the steps that it may take.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from tests.faults.injection import Action, CallFault
from tests.faults.ordeal import WAITING_STEPS, Ordeal, lives

MEMORY = Path("/sys/fs/cgroup/memory")


class Deed(Protocol):
    """What happens to a training."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Let it happen; False where there was nothing to act on."""
        ...


@dataclass(frozen=True)
class AtCall:
    """A call on a file fails, waits, or is the last of its process."""

    fault: CallFault
    before: "Deed | None" = None
    """What is done first, so that the calls of a start or of dying ranks are made."""
    seconds: float = 0.0
    """How long it lasts, where it does not end by itself; the training goes on meanwhile."""
    may_pass: int = 0
    """At most how many of its calls are let through before."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Arm the page, do what is to be done before, and await the call."""
        ordeal.page.arm(self.fault, ordeal.chance.randint(0, self.may_pass))
        if self.before is None:
            ordeal.ask_for_files()
        else:
            self.before.happen(ordeal)
        has_fired = ordeal.advance(lambda: ordeal.page.fired, f"a call on {self.fault.pattern}", WAITING_STEPS)
        if self.fault.action is Action.FREEZE and has_fired:
            _continue_stopped(ordeal, self.seconds)
        elif has_fired and self.seconds:
            ordeal.advance_for(self.seconds, steps=24)
        if has_fired and self.fault.action in (Action.KILL, Action.TEAR, Action.KILL_AFTER):
            ordeal.allow_more()
            ordeal.await_ranks()
        ordeal.page.disarm()
        return has_fired


def _continue_stopped(ordeal: Ordeal, seconds: float) -> None:
    """Let the ranks that a call has stopped go on after some seconds."""
    _rest(seconds)
    for rank in ordeal.training.ranks().values():
        with suppress(psutil.NoSuchProcess):
            rank.resume()


def _rest(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)


@dataclass(frozen=True)
class Kill:
    """`kill -9` of processes: some ranks, or the launcher, or everything."""

    ranks: tuple[int, ...] = ()
    """Local ranks; those beyond the last are left out."""
    launcher: bool = False
    after_seconds: tuple[float, float] = (0.0, 0.3)
    """When, at random between these, after the ranks are there."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Kill, and wait until all are there again."""
        found = ordeal.await_ranks()
        _rest(ordeal.chance.uniform(*self.after_seconds))
        victims: list[psutil.Process] = [ordeal.training.launcher] if self.launcher else []
        victims += [process for rank, process in found.items() if rank in self.ranks]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        ordeal.await_end_of(found.values())
        ordeal.await_ranks()
        return bool(victims)


@dataclass(frozen=True)
class KillDuringStart:
    """The launcher, and all below it, killed some time after it was started; it takes seconds until ranks train."""

    within_seconds: float = 3.0

    def happen(self, ordeal: Ordeal) -> bool:
        """Kill everything, and once more while it starts."""
        kill_all(ordeal)
        ordeal.training.keep_alive()
        _rest(ordeal.chance.uniform(0, self.within_seconds))
        kill_all(ordeal)
        ordeal.await_ranks()
        return True


def kill_all(ordeal: Ordeal) -> None:
    """Kill the launcher and all below it."""
    launcher = ordeal.training.launcher
    below = launcher.children(recursive=True) if launcher.is_running() else []
    for process in (launcher, *below):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    launcher.wait()
    psutil.wait_procs(below, timeout=60)


@dataclass(frozen=True)
class Stop:
    """SIGSTOP of ranks, or of everything, and SIGCONT some seconds later."""

    seconds: float
    ranks: tuple[int, ...] = ()
    everything: bool = False

    def happen(self, ordeal: Ordeal) -> bool:
        """Stop and continue."""
        found = ordeal.await_ranks()
        victims = [process for rank, process in found.items() if rank in self.ranks]
        if self.everything:
            launcher = ordeal.training.launcher
            victims = [launcher, *launcher.children(recursive=True)]
        with stopped(victims):
            ordeal.advance_for(self.seconds, steps=8)
        return bool(victims)


@contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Stop processes for the time of a `with`."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@dataclass(frozen=True)
class SetClock:
    """The time of day set, for all processes of the training; it stays so for some steps, and is set right again."""

    ahead_seconds: float

    def happen(self, ordeal: Ordeal) -> bool:
        """Set the clock and set it right."""
        ordeal.page.set_clock(self.ahead_seconds)
        ordeal.ask()
        ordeal.advance_for(1.5, steps=24)
        ordeal.page.set_clock(0)
        return True


@dataclass(frozen=True)
class RunOutOfMemory:
    """The kernel kills a rank that takes more memory than its control group may have."""

    rank: int

    def happen(self, ordeal: Ordeal) -> bool:
        """Put the rank into a group that may take no more, and await its end."""
        found = ordeal.await_ranks()
        # Of its own: the kernel keeps a group for a while after the process that it has ended.
        group = Path(tempfile.mkdtemp(prefix="leitstand-faults-", dir=MEMORY))
        try:
            (group / "memory.limit_in_bytes").write_text(str(256 * 1024))
            (group / "cgroup.procs").write_text(str(found[self.rank].pid))
            ordeal.advance(lambda: not lives(found[self.rank]), "the end of the rank", WAITING_STEPS)
            has_ended = not lives(found[self.rank])
            (group / "memory.limit_in_bytes").write_text("-1")
            ordeal.await_end_of(found.values())
        finally:
            _remove_group(group)
        ordeal.await_ranks()
        return has_ended


def _remove_group(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (MEMORY / "cgroup.procs").write_text(pid)
    with suppress(OSError):
        group.rmdir()


def can_limit_memory() -> bool:
    """Whether control groups of memory can be made here."""
    return os.access(MEMORY, os.W_OK) and (MEMORY / "memory.limit_in_bytes").exists()

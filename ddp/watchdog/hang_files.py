"""One file per hang with the stacks of all ranks: `hangs/20261130T164500Z_step_512.txt` in the run directory.

Written by a thread of its own: the disk may be what hangs, and then the hang must be named all the same.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stack_groups import StackGroup, named
from ddp.watchdog.stall_detection import Stall
from service.atomic_files import write_atomically
from service.run.directory import HANGS

MAX_FILES = 200
"""Of one start; later hangs are told without a file."""
WRITE_SECONDS = 5.0
"""How long the end of a hung rank waits for its file."""

logger = logging.getLogger(__name__)


class HangFiles:
    """The files of one start of the ranks. All methods are for the watchdog's thread."""

    def __init__(self, root: Callable[[], Path], suffix: str = "") -> None:
        """`root` returns the run directory; `suffix` is part of the names, where several ranks write."""
        self._root = root
        self._suffix = suffix
        self._count = 0
        self._writing: threading.Thread | None = None

    def write(self, stall: Stall, statuses: Sequence[RankStatus]) -> str | None:
        """Begin to write the file of a stall; return its path relative to the run directory, or None without one."""
        if self._count >= MAX_FILES:
            return None
        self._count += 1
        now = time.time()
        step = max((status.step for status in statuses if status.step is not None), default=0)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        name = f"{HANGS}/{stamp}_step_{step}{self._suffix}.txt"
        target, text = self._root() / name, text_of(stall, statuses, now)
        self._writing = threading.Thread(target=_write, args=(target, text), name="hang file", daemon=True)
        self._writing.start()
        return name

    def wait(self) -> None:
        """Wait until the last file is on disk, for `WRITE_SECONDS` at most."""
        if self._writing is not None:
            self._writing.join(WRITE_SECONDS)


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(exist_ok=True)
        write_atomically(target, text.encode())
    except OSError as error:
        logger.warning("The stacks of a hang could not be written to %s: %s", target, error.strerror)


def text_of(stall: Stall, statuses: Sequence[RankStatus], now: float) -> str:
    """Return the content of the file: the sentence, a line for each rank, and each group of equal stacks."""
    head = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))}\n{stall.message}\n"
    ranks = "\n".join(map(_line, statuses))
    stacks = "\n".join(map(_stack_text, stall.groups))
    return f"{head}\n{ranks}\n\n{stacks}"


def _line(status: RankStatus) -> str:
    place = f"{status.host or '-'}, process {status.pid or '-'}, {status.device or '-'}"
    step = "" if status.step is None else f" at step {status.step}"
    return (
        f"rank {status.rank} ({place}): {status.stage}{step} for {status.stage_seconds:.1f} s, "
        f"last report {status.silent_seconds:.1f} s ago"
    )


def _stack_text(group: StackGroup) -> str:
    age = "" if group.age_seconds is None else f", taken {group.age_seconds:.1f} s before"
    title = f"=== {named(group.ranks)}: {group.sentence()}"
    return f"{title}\nStack of rank {group.ranks[0]}{age}, innermost call last:\n{group.stack or '  (none)'}\n"

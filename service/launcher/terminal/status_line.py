"""The status line of `leitstand up`: the last row of the terminal, below the log, which scrolls above it.

    rows 1 to n-1   the scroll region (DECSTBM), where all processes print as ever
    row n           state, step, loss, quality, time per step, when it finishes, keys

The escape sequences are those of the VT100, which every terminal of today knows.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from service.background_thread import BackgroundThread, ErrorBoundary
from service.run.state import RunState, clock, finish_time

if TYPE_CHECKING:
    from service.store.store import RunRow

INTERVAL_SECONDS = 1.0
MIN_ROWS, MIN_COLUMNS = 5, 20
KEYS = "keys v p c q"
_SAVE, _RESTORE = "\x1b7", "\x1b8"
_NEW_ROW = "\n\x1b[A"
"""Makes room below the cursor, so that it is not on the last row."""
_WHOLE = "\x1b[r"

logger = logging.getLogger(__name__)


class StatusLine:
    """The last row of a terminal, drawn once a second by a thread while this is entered as a context."""

    def __init__(self, descriptor: int, read: Callable[[], "RunRow | None"], now: Callable[["RunRow"], float]) -> None:
        """Draw on the terminal at the open file `descriptor` what `read()` returns, None before a run has begun.

        `now(run)` is the present time on the clock of the run's trainer (Unix seconds).
        """
        self._descriptor = descriptor
        self._read = read
        self._now = now
        self._reserved: tuple[int, int] | None = None
        self._is_suspended = False
        self._lock = threading.Lock()
        self._thread = BackgroundThread(
            "status line",
            self._draw,
            interval_seconds=INTERVAL_SECONDS,
            boundary=ErrorBoundary(logger, once=True),
            error_message="The status line met an unexpected error.",
            runs_immediately=True,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.close(INTERVAL_SECONDS)  # it may wait for the store
        with self._lock:
            self._is_suspended = True
            self._release()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Give the whole terminal back during the block."""
        with self._lock:
            self._is_suspended = True
            self._release()
        try:
            yield
        finally:
            with self._lock:
                self._is_suspended = False
            self._thread.wake()

    def _draw(self) -> None:
        run = self._read()
        now = 0.0 if run is None else self._now(run)
        with self._lock:
            size = None if self._is_suspended else self._usable_size()
            if size is None:
                self._release()
                return
            text = status_text(run, now, size[1])
            self._write(f"{self._reservation(size)}{_SAVE}\x1b[{size[0]};1H\x1b[7m{text:<{size[1]}}\x1b[0m{_RESTORE}")

    def _usable_size(self) -> tuple[int, int] | None:
        """Return rows and columns; None if this process is in the background, or there is no room."""
        size = self._size()
        return size if size is not None and size[0] >= MIN_ROWS and size[1] >= MIN_COLUMNS else None

    def _size(self) -> tuple[int, int] | None:
        """Return rows and columns; None if another program has the terminal now."""
        with suppress(OSError):
            if os.tcgetpgrp(self._descriptor) == os.getpgrp():
                columns, rows = os.get_terminal_size(self._descriptor)
                return rows, columns
        return None

    def _reservation(self, size: tuple[int, int]) -> str:
        """Return what keeps the log off the last row, where the terminal is new or of another size."""
        if size == self._reserved:
            return ""
        before, self._reserved = self._reserved, size
        # The old line would otherwise stay in the middle of the log.
        erased = f"{_SAVE}\x1b[{before[0]};1H\x1b[2K{_RESTORE}" if before is not None and before[0] < size[0] else ""
        return f"{erased}{_NEW_ROW}{_SAVE}\x1b[1;{size[0] - 1}r{_RESTORE}"

    def _release(self) -> None:
        """Let the log use the last row again; one that has become smaller shows the line on its own last row."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None and (size := self._size()) is not None:
            self._write(f"{_SAVE}{_WHOLE}\x1b[{min(reserved[0], size[0])};1H\x1b[2K{_RESTORE}")

    def _write(self, text: str) -> None:
        """Write at once, so that no other process prints in between; a closed terminal is no error."""
        with suppress(OSError):
            os.write(self._descriptor, text.encode())


def has_room(stream: IO[str], environment: Mapping[str, str]) -> bool:
    """Return True if a stream is a terminal that knows escape sequences."""
    return stream.isatty() and environment.get("TERM", "") not in {"", "dumb"}


def status_text(run: "RunRow | None", now: float, width: int) -> str:
    """Return as many values of the run as have room in `width` columns, the most important ones first.

    `now` is the present time on its trainer's clock (Unix seconds).
    """
    text = ""
    for part in [" STARTING", KEYS] if run is None else _parts(run, now):
        longer = f"{text}  {part}" if text else part
        if part and len(longer) <= width:
            text = longer
    return text


def _parts(run: "RunRow", now: float) -> list[str]:
    snapshot: Mapping[str, Any] = run.snapshot or {}
    state, step_max = run.reported_state(now), snapshot.get("step_max") or run.config.get("MAX_STEPS")
    share = f" ({100 * run.step // step_max} %)" if step_max else ""
    finish = finish_time(snapshot) if state is RunState.RUNNING else None
    return [
        f" {state.upper()}",
        f"step {run.step}" + (f"/{step_max}{share}" if step_max else ""),
        _value("loss", snapshot.get("total_loss_value"), ".5f"),
        _value("KI", snapshot.get("quality_ki_value"), ".4f"),
        "" if finish is None else f"finishes {clock(finish, now)}",
        _value("best", snapshot.get("best_quality_ever"), ".4f"),
        _value("", snapshot.get("iteration_duration"), ".3f", " s/step"),
        KEYS,
    ]


def _value(name: str, value: float | None, pattern: str, unit: str = "") -> str:
    return "" if value is None else f"{name} {value:{pattern}}{unit}".strip()

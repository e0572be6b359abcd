"""The status line of `leitstand up`, at a real terminal whose screen an emulator shows."""

import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyte
import pytest

from service.launcher.terminal.status_line import has_room, status_text
from service.run.state import RunState
from service.store.store import RunRow, Store
from tests.service.harness.children import is_running, pid_of, until
from tests.service.harness.terminal import Terminal

RUN = "run-1"
ROWS, COLUMNS = 24, 80
SNAPSHOT = {
    "step_max": 20_000, "total_loss_value": 0.0066302, "quality_ki_value": 0.75284, "best_quality_ever": 0.7531,
    "iteration_duration": 0.0213, "eta_total_formatted": "00:10:00",
}  # fmt: skip


def row(**values: Any) -> RunRow:
    now = time.time()
    made = RunRow(RUN, {"MAX_STEPS": 20_000}, now, now, now, 1234, RunState.RUNNING, None, None)
    return replace(made, **values)


def test_it_tells_what_matters_most_first_and_only_what_has_room() -> None:
    now = time.time()
    run = row(snapshot={**SNAPSHOT, "last_update_time": now})
    finish = time.strftime("%H:%M", time.localtime(now + 600))

    whole = status_text(run, now, 200)

    assert whole.split("  ") == [
        " RUNNING", "step 1234/20000 (6 %)", "loss 0.00663", "KI 0.7528", f"finishes {finish}", "best 0.7531",
        "0.021 s/step", "keys v p c q",
    ] or f"finishes {time.strftime('%a', time.localtime(now + 600))}" in whole  # fmt: skip
    for width in range(20, 120):
        assert len(status_text(run, now, width)) <= width
    assert status_text(run, now, 34) == " RUNNING  step 1234/20000 (6 %)"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (None, " STARTING  keys v p c q"),
        ({}, " RUNNING  step 1234/20000 (6 %)  keys v p c q"),
        ({"state": RunState.PAUSED, "step": 0}, " PAUSED  step 0/20000 (0 %)  keys v p c q"),
        ({"heartbeat_at": 0.0}, " LOST  step 1234/20000 (6 %)  keys v p c q"),
        ({"state": RunState.FINISHED, "config": {}}, " FINISHED  step 1234  keys v p c q"),
    ],
)
def test_it_shows_only_what_is_known(values: dict[str, Any] | None, text: str) -> None:
    run = None if values is None else row(**values)

    assert status_text(run, time.time(), COLUMNS) == text


@pytest.mark.parametrize("environment", [{}, {"TERM": ""}, {"TERM": "dumb"}])
def test_a_terminal_without_escape_sequences_gets_none(environment: dict[str, str]) -> None:
    keys, side = os.openpty()
    with open(side, "w") as stream:
        assert has_room(stream, {"TERM": "xterm"})
        assert not has_room(stream, environment)
    os.close(keys)


class Screen:
    """What the terminal shows."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self._emulator = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self._emulator)
        self._seen = 0

    def rows(self) -> list[str]:
        text = self.terminal.screen
        self._stream.feed(text[self._seen :])
        self._seen = len(text)
        return [line.rstrip() for line in self._emulator.display]

    def is_whole(self) -> bool:
        """Whether the log may use every row."""
        self.rows()
        return self._emulator.margins is None

    def resize(self, rows: int, columns: int) -> None:
        self.rows()
        self._emulator.resize(rows, columns)
        fcntl.ioctl(self.terminal.side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def print(self, text: str) -> None:
        """Print as a child process does."""
        os.write(self.terminal.side, text.encode())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "leitstand.db", create=True)
    store.open_run(RUN, {"MAX_STEPS": 20_000}, now=time.time() + 3600)  # of this start, whenever that is
    return store


@pytest.fixture
def screen(tmp_path: Path, store: Store) -> Iterator[Screen]:
    terminal = Terminal(tmp_path, "--status-line")
    try:
        fcntl.ioctl(terminal.side, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        pid_of(tmp_path, "trainer")
        screen = Screen(terminal)
        until(lambda: " STARTING" in screen.rows()[-1])
        yield screen
    finally:
        terminal.close()
        pids = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
        until(lambda: not any(is_running(pid) for pid in pids))


def test_the_log_scrolls_above_it_and_the_end_gives_the_row_back(screen: Screen, store: Store) -> None:
    now = time.time()
    store.runs.update(RUN, state=RunState.RUNNING.value, step=1234, heartbeat_at=now, progress_at=now)
    until(lambda: "RUNNING  step 1234/20000" in screen.rows()[-1])

    screen.print("".join(f"line {number}\n" for number in range(100)))
    until(lambda: "line 99" in screen.rows())

    rows = screen.rows()
    assert rows[:-2] == [f"line {number}" for number in range(100 - ROWS + 2, 100)]
    assert rows[-2] == ""
    assert "RUNNING  step 1234/20000" in rows[-1]
    screen.terminal.press("q")
    assert screen.terminal.process.wait(30) == 0
    until(screen.is_whole)
    assert not any("1234/20000" in row for row in screen.rows())
    assert "line 99" in screen.rows()


@pytest.mark.parametrize("rows", [40, 12])
def test_it_moves_with_the_terminals_last_row(screen: Screen, rows: int) -> None:
    screen.resize(rows, 100)
    until(lambda: "STARTING" in screen.rows()[-1])
    screen.print("".join(f"line {number}\n" for number in range(100)))
    until(lambda: "line 99" in screen.rows())

    assert len(screen.rows()) == rows
    assert ["STARTING" in row for row in screen.rows()] == [False] * (rows - 1) + [True]


@pytest.mark.parametrize(("rows", "columns"), [(4, COLUMNS), (1, COLUMNS), (ROWS, 10)])
def test_a_terminal_that_has_become_too_small_keeps_no_piece_of_it(screen: Screen, rows: int, columns: int) -> None:
    screen.resize(rows, columns)

    until(lambda: screen.is_whole() and not any("STARTING" in row for row in screen.rows()))
    screen.resize(ROWS, COLUMNS)
    until(lambda: "STARTING" in screen.rows()[-1])
    assert sum("STARTING" in row for row in screen.rows()) == 1


def test_a_trainer_whose_clock_is_an_hour_late_is_not_lost(screen: Screen, store: Store) -> None:
    def is_shown_at_work() -> bool:
        late = time.time() - 3600
        store.runs.update(RUN, state=RunState.RUNNING.value, heartbeat_at=late, progress_at=late)
        return "RUNNING" in screen.rows()[-1]

    until(is_shown_at_work)


def test_ctrl_z_gives_the_row_back_until_the_process_goes_on(screen: Screen) -> None:
    screen.terminal.press("\x1a")
    _, status = os.waitpid(screen.terminal.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    until(screen.is_whole)
    assert not any("STARTING" in row for row in screen.rows())

    screen.terminal.process.send_signal(signal.SIGCONT)

    until(lambda: "STARTING" in screen.rows()[-1])
    assert not screen.is_whole()

"""The supervisor as a process of its own: at a real terminal, and ended by SIGKILL."""

import os
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.commands import CommandState, Kind
from service.run.state import RunState
from service.store.store import Store
from tests.service.harness.children import is_running, pid_of, until
from tests.service.harness.terminal import COMMAND, ROOT, Terminal


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "leitstand.db", create=True)
    store.open_run("run-1", {})
    store.runs.update("run-1", state=RunState.RUNNING.value)
    return store


@pytest.fixture
def terminal(tmp_path: Path, store: Store) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    try:
        pid_of(tmp_path, "trainer")
        pid_of(tmp_path, "api")
        terminal.shows("v validate")
        yield terminal
    finally:
        terminal.close()
        pids = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
        until(lambda: not any(is_running(pid) for pid in pids))


def test_a_key_becomes_a_command_and_its_outcome_is_shown(terminal: Terminal, store: Store) -> None:
    terminal.press("v")
    until(lambda: store.commands.find("run-1"))
    (command,) = store.commands.find("run-1")
    store.commands.finish(command.id, CommandState.DONE, step=120, result={"record": "Statistik_120.json"})

    terminal.shows("validate asked for")
    terminal.shows("validate done at step 120: record Statistik_120.json")
    assert (command.kind, command.actor, command.source) == (Kind.VALIDATE, "eva", "keyboard")


def test_p_pauses_and_p_again_resumes_and_arrow_keys_do_nothing(terminal: Terminal, store: Store) -> None:
    terminal.press("p\x1b[1;2CPc")
    until(lambda: len(store.commands.find("run-1")) == 3)

    assert [command.kind for command in store.commands.find("run-1")] == [Kind.PAUSE, Kind.RESUME, Kind.CHECKPOINT]


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("\x03", 130)])
def test_q_and_ctrl_c_leave_in_order_and_give_the_terminal_back(
    terminal: Terminal, tmp_path: Path, key: str, code: int
) -> None:
    assert termios.tcgetattr(terminal.side) != terminal.modes

    terminal.press(key)

    assert terminal.process.wait(30) == code
    assert (tmp_path / "trainer.left").exists()
    assert termios.tcgetattr(terminal.side) == terminal.modes
    assert "^C" not in terminal.screen


def test_the_keys_of_a_job_that_began_in_the_background_work_at_the_front(tmp_path: Path, store: Store) -> None:
    shell = Terminal(tmp_path, command=["bash", "--norc", "--noprofile", "-i"])
    try:
        shell.press(f"{shlex.join([*COMMAND, str(tmp_path)])} &\r")
        pid_of(tmp_path, "trainer")
        shell.shows("Dashboard")

        shell.press("fg\r")

        until(lambda: not termios.tcgetattr(shell.side)[3] & termios.ICANON)
        shell.press("v")
        until(lambda: store.commands.find("run-1"))
        shell.press("q")
        until(lambda: (tmp_path / "trainer.left").exists())
    finally:
        shell.process.kill()  # a hang-up for what it has started
        shell.close()
        pids = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
        until(lambda: not any(is_running(pid) for pid in pids))


def test_ctrl_z_gives_the_terminal_back_until_the_process_goes_on(terminal: Terminal, store: Store) -> None:
    terminal.press("\x1a")
    _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert termios.tcgetattr(terminal.side) == terminal.modes

    terminal.process.send_signal(signal.SIGCONT)
    until(lambda: termios.tcgetattr(terminal.side) != terminal.modes)
    terminal.press("v")
    until(lambda: store.commands.find("run-1"))


def test_a_terminal_that_is_closed_ends_everything_in_order(terminal: Terminal, tmp_path: Path) -> None:
    terminal.process.send_signal(signal.SIGHUP)

    assert terminal.process.wait(30) == 129
    assert (tmp_path / "trainer.left").exists()


def test_children_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    launcher = subprocess.Popen([*COMMAND, str(tmp_path)], cwd=ROOT, stdin=subprocess.DEVNULL)
    children = [pid_of(tmp_path, "trainer"), pid_of(tmp_path, "api")]

    launcher.kill()
    launcher.wait(30)

    until(lambda: not any(is_running(pid) for pid in children))
    assert (tmp_path / "trainer.left").exists()


def test_a_launcher_that_is_gone_before_its_child_began_starts_nothing(tmp_path: Path) -> None:
    nobody = str(2**22 + 1)  # more than the kernel ever gives
    mark = tmp_path / "mark"

    run = subprocess.run(
        [sys.executable, "-m", "service.launcher.parent_death", nobody, "touch", str(mark)], cwd=ROOT, check=False
    )

    assert run.returncode == 0
    assert not mark.exists()

"""`leitstand watch` as a program: at a terminal, without one, and without the package that draws."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.harness.example_run import write_run
from tests.api.harness.serving import NEW_INTERPRETER, Server, serving

ROOT = Path(__file__).parents[4]
PROGRAM = "from service.cli import main; main()"
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real API with a run whose trainer is lost."""
    root = tmp_path_factory.mktemp("watched") / "run"
    write_run(root, age_seconds=300).close()
    with serving(root, start_python=NEW_INTERPRETER) as server:
        yield server


class Screen:
    """The command in a terminal of its own."""

    def __init__(self, url: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
            os.execve(sys.executable, [sys.executable, "-c", PROGRAM, "watch", "--url", url], environment)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = ""

    def shows(self, text: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.text:
            assert time.monotonic() < deadline, self.text[-3000:]
            self.read()

    def read(self) -> bool:
        """Take in what has come; returns False at the end."""
        if not select.select([self.terminal], [], [], 0.05)[0]:
            return True
        try:
            self.text += os.read(self.terminal, 65536).decode(errors="replace")
        except OSError:  # the terminal's last user has left
            return False
        return True

    def exit_code(self) -> int:
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def screen(api: Server) -> Iterator[Screen]:
    screen = Screen(api.url)
    yield screen
    os.close(screen.terminal)


@pytest.mark.parametrize(
    ("end", "code"), [("q", 0), ("\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_at_a_terminal_it_is_a_picture_and_every_end_gives_the_terminal_back(
    screen: Screen, end: str | signal.Signals, code: int
) -> None:
    screen.shows("TRAINER LOST")
    screen.shows("quit this view")
    if isinstance(end, signal.Signals):
        os.kill(screen.pid, end)
    else:
        os.write(screen.terminal, end.encode())

    assert screen.exit_code() == code
    assert "\x1b[?1049l" in screen.text.rpartition("\x1b[?1049h")[2]  # back from the other screen


def without(*packages: str) -> str:
    """The command where these packages are not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({packages!r})); {PROGRAM}"


def test_without_a_terminal_it_needs_no_textual(api: Server) -> None:
    command = [sys.executable, "-c", without("textual", "rich"), "watch", "--url", api.url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("run 5f0c1e77ab42 lost at step 4200\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_without_textual_it_says_what_to_install(api: Server) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", without("textual", "rich"), "watch", "--url", api.url])
    text = ""
    try:
        while piece := os.read(terminal, 65536).decode():
            text += piece
    except OSError:
        pass
    finally:
        os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert "Error: The view needs the package textual: install the extra leitstand[watch]" in " ".join(text.split())

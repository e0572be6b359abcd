"""`leitstand up` with stand-ins for its children, at a real terminal."""

import fcntl
import os
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.service.harness.children import until

COMMAND = [sys.executable, "-m", "tests.service.harness.up_stand_in"]
ROOT = Path(__file__).parents[3]


class Terminal:
    """A process at a terminal of its own, whose keys the test presses."""

    def __init__(self, folder: Path, *options: str, command: Sequence[str] | None = None) -> None:
        """Start the stand-in for a folder with options, or another command."""
        self.keys, side = os.openpty()
        self.screen = ""
        self.side = os.dup(side)
        self.modes = termios.tcgetattr(side)
        self.process = subprocess.Popen(
            command or [*COMMAND, str(folder), *options], cwd=ROOT, stdin=side, stdout=side, stderr=side,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(side)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self.keys, 4096):
                self.screen += data.decode(errors="replace")

    def shows(self, text: str) -> None:
        """Wait until the screen shows this."""
        until(lambda: text in self.screen)

    def press(self, keys: str) -> None:
        os.write(self.keys, keys.encode())

    def close(self) -> None:
        """End the process, if the test has not."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        os.close(self.side)  # the reader's terminal ends with its last user
        self._reader.join(30)
        os.close(self.keys)

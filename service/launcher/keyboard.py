"""Single keys from the terminal, without Enter and without echo; Ctrl-C stays a signal.

The terminal is given back as it was found, on errors too. Nothing is touched unless the input is a terminal and this
process is in its foreground: a background process that changes its terminal would be stopped by the kernel.
"""

import os
import re
import signal
import termios
import tty
from types import TracebackType
from typing import Any, Self

_ESCAPE_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|.)?")


class Keyboard:
    """The keys of one terminal, as a context manager; without a terminal it stays silent."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is the open input, usually 0."""
        self._descriptor = descriptor
        self._found: list[Any] | None = None
        self._is_open = os.isatty(descriptor)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore_terminal()

    @property
    def is_listening(self) -> bool:
        """Whether keys are read now."""
        return self._found is not None

    def take(self) -> None:
        """Begin to listen, where that is possible."""
        if self._found is None and self._is_open and self._in_foreground():
            self._found = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor, termios.TCSADRAIN)

    def restore_terminal(self) -> None:
        """Stop listening and leave the terminal as it was found."""
        found, self._found = self._found, None
        # In the background the shell has given the terminal its own modes already.
        if found is not None and self._in_foreground():
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, found)

    def pause_process(self) -> None:
        """Ctrl-Z: stop this process with the terminal given back, and listen again when it is continued."""
        self.restore_terminal()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.take()

    def read(self) -> str:
        """The keys that were pressed, in lower case; call it when the descriptor is readable. Empty at its end."""
        if not self._in_foreground():
            self._found = None  # another job has the terminal now, in its own modes
            return ""
        try:
            data = os.read(self._descriptor, 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._found, self._is_open = None, False
        return _ESCAPE_SEQUENCE.sub("", data.decode(errors="ignore")).lower()

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False

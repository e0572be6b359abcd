"""Reads single keys from the terminal, without Enter and without echo; Ctrl-C remains a signal.

The terminal's modes are restored at the end, also after an error. They are changed only if the input is a terminal and
this process is in its foreground group: the kernel would stop a background process that changes its terminal.
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
    """Keyboard input of a terminal, as a context manager; without a terminal there are no keys."""

    def __init__(self, descriptor: int) -> None:
        """Use the open file `descriptor`, usually 0."""
        self._descriptor = descriptor
        self._original_modes: list[Any] | None = None
        self._is_open = os.isatty(descriptor)

    def __enter__(self) -> Self:
        self.start_listening()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore_terminal()

    @property
    def is_listening(self) -> bool:
        """True if the terminal is in the mode for single keys."""
        return self._original_modes is not None

    def start_listening(self) -> None:
        """Set the terminal's mode for single keys, if the input is a terminal and this process is in the foreground."""
        if self._original_modes is None and self._is_open and self._in_foreground():
            self._original_modes = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor, termios.TCSADRAIN)

    def restore_terminal(self) -> None:
        """Stop listening and restore the terminal's original modes."""
        modes, self._original_modes = self._original_modes, None
        # In the background, the shell has already set its own modes.
        if modes is not None and self._in_foreground():
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)

    def pause_process(self) -> None:
        """Handle Ctrl-Z: restore the terminal, stop this process, and listen again when it is continued."""
        self.restore_terminal()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.start_listening()

    def read(self) -> str:
        """Return the pressed keys in lower case, or an empty text at the end of the input.

        Call it when the descriptor is readable; otherwise it blocks.
        """
        if not self._in_foreground():
            self._original_modes = None  # another job uses the terminal now, with its own modes
            return ""
        try:
            data = os.read(self._descriptor, 1024)
        except OSError:
            data = b""
        if not data:  # the terminal was closed
            self._original_modes, self._is_open = None, False
        return _ESCAPE_SEQUENCE.sub("", data.decode(errors="ignore")).lower()

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False

"""Log handlers: rank 0 logs to the console and to `training.log`, other ranks log warnings to the console.

Log records pass through a queue, so that the training thread never waits for a terminal or a disk. Each is one line,
whatever the names in it hold; only tracebacks have more lines, which are indented.
"""

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from typing import IO

from ddp.distributed.environment import RankEnvironment
from service.atomic_files import opened_without_waiting
from service.errors import PrintableFormatter, plain_reason, printable
from service.launcher.terminal.console import escape_unencodable

STEP_LINE = {"is_step_line": True}
"""`extra` of the log line of a log point."""
FILE_LINE = {"is_file_line": True}
"""`extra` of a log line that is for `training.log` alone."""


class RetryingFileHandler(WatchedFileHandler):
    """Appends log lines to a file; reports the first failure on the console and retries with the next line.

    A file that was moved or deleted is made again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self._has_failed = False

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=opened_without_waiting)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a file that cannot be opened must not end the thread that writes all lines."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - the signature is logging's
        """Report the first failure. Called by `logging` while it handles the exception."""
        if not self._has_failed:
            error = sys.exc_info()[1]
            path = printable(self.baseFilename)
            sys.stderr.write(f"{path} cannot be written ({plain_reason(error)}); training goes on.\n")
        self._has_failed = True


@contextmanager
def console_log(environment: RankEnvironment) -> Iterator[QueueListener]:
    """Write this process's log lines to the console until the end of the block."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if environment.is_main else logging.WARNING)
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(lines)
    handler.setFormatter(PrintableFormatter())  # here, because what the queue holds is one text with the traceback
    listener = QueueListener(lines, _console(environment, sys.stdout if environment.is_main else sys.stderr))
    root.addHandler(handler)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
        root.removeHandler(handler)


def hide_step_lines(listener: QueueListener) -> None:
    """Keep the lines of log points off the console, where a status line shows their values; the file has them."""
    console, *_ = listener.handlers
    console.addFilter(lambda record: not getattr(record, "is_step_line", False))


def add_log_file(listener: QueueListener, path: Path) -> None:
    """Also write all further log lines to the file `path`."""
    handler = RetryingFileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    listener.handlers = (*listener.handlers, handler)


def _console(environment: RankEnvironment, stream: IO[str]) -> logging.Handler:
    escape_unencodable([stream])
    handler = logging.StreamHandler(stream)
    handler.addFilter(lambda record: not getattr(record, "is_file_line", False))
    prefix = "" if environment.is_main else f"rank {environment.rank}: "
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(message)s", datefmt="%H:%M:%S"))
    return handler

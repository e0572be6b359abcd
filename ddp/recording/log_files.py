"""Log handlers: rank 0 logs to the console and to `training.log`, other ranks log warnings to the console.

Log records pass through a queue, so that the training thread never waits for a terminal or a disk.
"""

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import IO

from ddp.distributed.environment import RankEnvironment


class RetryingFileHandler(logging.FileHandler):
    """Appends log lines to a file; reports the first failure on the console and retries with the next line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - the signature is logging's
        """Report the first failure. Called by `logging` while it handles the exception."""
        if not self._has_failed:
            error = sys.exc_info()[1]
            sys.stderr.write(f"{self.baseFilename} cannot be written ({error}); training goes on.\n")
        self._has_failed = True


@contextmanager
def console_log(environment: RankEnvironment) -> Iterator[QueueListener]:
    """Write this process's log lines to the console until the end of the block."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if environment.is_main else logging.WARNING)
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(lines)
    listener = QueueListener(lines, _console(environment, sys.stdout if environment.is_main else sys.stderr))
    root.addHandler(handler)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
        root.removeHandler(handler)


def add_log_file(listener: QueueListener, path: Path) -> None:
    """Also write all further log lines to the file `path`."""
    handler = RetryingFileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    listener.handlers = (*listener.handlers, handler)


def _console(environment: RankEnvironment, stream: IO[str]) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    prefix = "" if environment.is_main else f"rank {environment.rank}: "
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(message)s", datefmt="%H:%M:%S"))
    return handler

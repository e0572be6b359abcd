"""Where log lines go: rank 0's to the console and to `training.log`, the other ranks' warnings to the console.

Lines pass through a queue, so that the training thread never waits for a terminal or a disk.
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


class ForgivingFile(logging.FileHandler):
    """Appends to a file; when that fails, says so once on the console and tries again with the next line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - the signature is logging's
        """Called by logging while the exception is being handled."""
        if not self._has_failed:
            error = sys.exc_info()[1]
            sys.stderr.write(f"{self.baseFilename} cannot be written ({error}); training goes on.\n")
        self._has_failed = True


@contextmanager
def console_log(place: RankEnvironment) -> Iterator[QueueListener]:
    """Send log lines of this process to the console until the end of the block."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if place.is_main else logging.WARNING)
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(lines)
    listener = QueueListener(lines, _console(place, sys.stdout if place.is_main else sys.stderr))
    root.addHandler(handler)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
        root.removeHandler(handler)


def also_to_file(listener: QueueListener, path: Path) -> None:
    """From now on write the lines to `training.log` too."""
    handler = ForgivingFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    listener.handlers = (*listener.handlers, handler)


def _console(place: RankEnvironment, stream: IO[str]) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    prefix = "" if place.is_main else f"rank {place.rank}: "
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(message)s", datefmt="%H:%M:%S"))
    return handler

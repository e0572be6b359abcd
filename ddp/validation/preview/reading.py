"""Reads a part of a clip by another process, which may crash or hang without harm.

Call it on the main thread of a process: the other one is ended together with it.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from ddp.distributed.environment import without_rank
from ddp.validation.preview.clip_part import ClipPart, PartRequest, part_from_bytes
from service.errors import UserError, printable
from service.launcher.parent_death import ending_with_this

READ_SECONDS = 60.0
POLL_SECONDS = 0.2
END_SECONDS = 1.0
MAX_REASON = 500

logger = logging.getLogger(__name__)


def read_in_process(request: PartRequest, on_wait: Callable[[], None], seconds: float = READ_SECONDS) -> ClipPart:
    """Return the part; `on_wait` is called while it is read, and what it raises ends the reading.

    Raises `UserError` if the clip cannot be used, brings its reader down, or is not read in time.
    """
    command = ending_with_this([sys.executable, "-m", "ddp.validation.preview", request.as_argument()])
    # Without `with`, which would wait for a reader that a hanging disk keeps from ending.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=without_rank(os.environ),
    )
    try:
        content, errors = _output(process, request, on_wait, seconds)
    except BaseException:
        _end(process)
        raise
    return _part(request, process.returncode, content, errors.decode(errors="replace").strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)


def _output(
    process: subprocess.Popen[bytes], request: PartRequest, on_wait: Callable[[], None], seconds: float
) -> tuple[bytes, bytes]:
    """Return what the process has written, once it has ended. Raises `UserError` if it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        on_wait()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=POLL_SECONDS)
    raise UserError(
        f"{request.name} was not read up to frame {request.first} within {seconds:g} s, so it was given up: ask for a "
        "frame further in front, or cut out what is wanted"
    )


def _part(request: PartRequest, code: int, content: bytes, errors: str) -> ClipPart:
    if code == UserError.exit_code and errors:
        raise UserError(printable(errors.splitlines()[-1])[:MAX_REASON])
    if code == 0:
        try:
            return part_from_bytes(content)
        except (ValueError, KeyError) as error:
            errors = str(error)
    logger.warning("The reader of the clip %s ended with code %d: %s", printable(request.name), code, printable(errors))
    raise UserError(f"{request.name} brought its reader down (exit code {code}); training.log says more")

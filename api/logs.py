"""`/logs`: the end of `training.log`, read from its end, however long it is."""

import os
from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, Response

from api.contract import Answer, Scope, operation
from api.ordinary_files import NotOrdinaryError, opened
from api.parameters import WholeNumber
from api.problems import ProblemError
from api.reader import current_reader

MOST_LINES = 5000
MOST_BYTES = 4 * 1024 * 1024
"""Where lines are so long that they exceed this, fewer come, the first of them cut off."""
PIECE_BYTES = 64 * 1024

TAIL = WholeNumber("tail", "how many lines from the end", default=200, minimum=1, maximum=MOST_LINES)

blueprint = Blueprint("logs", __name__)


@blueprint.get("/logs")
@operation(
    Scope.READ, TAIL,
    answers=[Answer(media_type="text/plain", description="the lines, UTF-8; what is none is replaced by U+FFFD")],
    problems=["not-found", "invalid-argument", "storage-unavailable"],
)  # fmt: skip
def show() -> Response:
    """Show the last lines of the run's log."""
    directory = current_reader().directory
    if directory is None:
        raise ProblemError("not-found", "The run's directory is not on this machine, so its log cannot be shown.")
    try:
        lines = last_lines(directory.log, TAIL.value())
    except OSError as error:
        raise ProblemError("storage-unavailable", f"The log cannot be read ({error.strerror}); try again.") from None
    if lines is None:
        raise ProblemError("not-found", "There is no training.log yet.")
    return Response(lines.decode("utf-8", "replace"), mimetype="text/plain")


def last_lines(path: Path, count: int) -> bytes | None:
    """The last `count` lines of an ordinary file, or None when there is none. Raises `OSError`.

    What is appended meanwhile is not part of them, nor what a rotation puts in the file's place.
    """
    try:
        with opened(path) as (descriptor, status):
            return _end_of(descriptor, status.st_size, count)
    except (FileNotFoundError, NotADirectoryError, NotOrdinaryError):
        return None


def _end_of(descriptor: int, size: int, count: int) -> bytes:
    pieces: list[bytes] = []
    missing = count
    for piece in _pieces_backwards(descriptor, size):
        pieces.append(piece)
        # The very last line may or may not be ended already.
        missing -= piece.count(b"\n") - (len(pieces) == 1 and piece.endswith(b"\n"))
        if missing <= 0:
            break
    text = b"".join(reversed(pieces))
    breaks = count + text.endswith(b"\n")
    lines = text.rsplit(b"\n", breaks)
    return b"\n".join(lines[1:]) if len(lines) > breaks else text


def _pieces_backwards(descriptor: int, size: int) -> Iterator[bytes]:
    """The file's bytes up to `size` in pieces, the last one first, at most MOST_BYTES."""
    for stop in range(size, max(0, size - MOST_BYTES), -PIECE_BYTES):
        start = max(0, stop - PIECE_BYTES)
        yield os.pread(descriptor, stop - start, start)

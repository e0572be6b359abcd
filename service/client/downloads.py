"""Bytes from the API into a file: whole or not at all, resumed where the connection broke off, checked by sha256."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO

import requests

from service.atomic_files import TEMPORARY_PREFIX, sync_folder
from service.client.errors import BadAnswerError, ServerUnreachableError
from service.client.retry import FAILURES
from service.run.record import record_step

PIECE_BYTES = 64 * 1024
RESUMABLE_BYTES = 4 * 1024
"""Pieces of a download that can be resumed: where it breaks off, the piece on its way is lost."""
MOST_BREAKS = 5
"""How often a download may break off without getting farther."""
PLAIN = {"Accept-Encoding": "identity"}
"""Compression on the way would count other bytes than the file's, and weaken its ETag."""

Ask = Callable[[Mapping[str, str]], requests.Response]
"""Sends the request with these headers; the answer's body is not read yet."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` at the end, durably; after an error nothing is left of it.

    A link keeps its place, what it leads to is replaced. A device or a pipe is written as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as special:
            yield special
        return
    path = path.resolve()
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def pieces(response: requests.Response) -> Iterator[bytes]:
    """The body piece by piece; raises `ServerUnreachableError` where it breaks off."""
    with response:
        try:
            yield from response.iter_content(PIECE_BYTES)
        except FAILURES:
            raise ServerUnreachableError("The answer broke off before its end; try again.") from None


def save_record(ask: Ask, name: str, folder: Path) -> Path:
    """Save the record that `ask` asks for in `folder` under its own name; returns its path.

    Where the connection breaks off, the rest is asked for. The bytes are checked against the ETag, which is their
    sha256. Raises `BadAnswerError`, what `ask` raises, or `OSError`, and then leaves no file.
    """
    response = ask(PLAIN)
    saved_name = _saved_name(name, response)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / saved_name
    with whole_file(path) as file:
        found = _receive(ask, response, file)
        if found.tag != f'"{found.sha256}"':
            raise BadAnswerError(f"{saved_name} arrived damaged (its sha256 is not {found.tag!r}); try again.")
    return path


class _Received:
    """What has arrived of a file so far."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._hash.update(piece)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _receive(ask: Ask, response: requests.Response, file: IO[bytes]) -> _Received:
    """Write the body to `file`, asking for the rest where it breaks off; a file that changed begins anew."""
    received = _Received(response.headers.get("ETag", ""))
    breaks, farthest = 0, 0
    while True:
        with response:
            try:
                for piece in response.iter_content(RESUMABLE_BYTES):
                    file.write(piece)
                    received.add(piece)
            except FAILURES:
                breaks, farthest = (1, received.size) if received.size > farthest else (breaks + 1, farthest)
            else:
                return received
        if breaks > MOST_BREAKS:
            raise ServerUnreachableError("The download broke off several times at the same place; try again later.")
        response = ask({**PLAIN, "Range": f"bytes={received.size}-", "If-Range": received.tag})
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            received = _Received(response.headers.get("ETag", ""))
            file.seek(0)
            file.truncate()


def _saved_name(name: str, response: requests.Response) -> str:
    """The file name to save under: `name`, or for `latest` the one that the server gives; never a path."""
    _, found, offered = response.headers.get("Content-Disposition", "").partition("filename=")
    for candidate in (name, offered.split(";")[0].strip('" ') if found else ""):
        if record_step(candidate) is not None:
            return candidate
    raise BadAnswerError(f"The server sent no name of a record for {name!r}; check its version.")

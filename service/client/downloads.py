"""Downloads from the API into files: atomic, resumed after an interruption, checked by sha256."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO

import requests

from service.atomic_files import atomic_file
from service.client.errors import BadAnswerError, ServerUnreachableError
from service.client.retry import FAILURES
from service.run.record import record_step

CHUNK_BYTES = 64 * 1024
RESUMABLE_CHUNK_BYTES = 4 * 1024
"""Chunk size of a resumable download: an interruption loses the chunk in transit."""
MAX_INTERRUPTIONS = 5
"""Maximum number of interruptions of a download without progress."""
UNCOMPRESSED = {"Accept-Encoding": "identity"}
"""Compression would change the byte positions for resuming and make the ETag a weak one."""

SendRequest = Callable[[Mapping[str, str]], requests.Response]
"""Sends a request with these headers and returns the answer before its body is read."""


def iter_body(response: requests.Response) -> Iterator[bytes]:
    """Yield the body in chunks; raises `ServerUnreachableError` if the connection breaks."""
    with response:
        try:
            yield from response.iter_content(CHUNK_BYTES)
        except FAILURES:
            raise ServerUnreachableError("The answer broke off before its end; try again.") from None


def save_record(send: SendRequest, name: str, folder: Path) -> Path:
    """Save the record that `send` requests in `folder` under its own name; returns its path.

    After an interruption, the rest is requested. The bytes are checked against the ETag, which is their sha256. Raises
    `BadAnswerError`, the errors of `send`, or `OSError`, and then leaves no file.
    """
    response = send(UNCOMPRESSED)
    saved_name = _saved_name(name, response)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / saved_name
    with atomic_file(path) as file:
        received = _receive(send, response, file)
        if received.tag != f'"{received.sha256}"':
            raise BadAnswerError(f"{saved_name} arrived damaged (its sha256 is not {received.tag!r}); try again.")
    return path


class _ReceivedBytes:
    """Count and hash of the bytes of a file received so far, and the file's ETag."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._hash.update(chunk)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _receive(send: SendRequest, response: requests.Response, file: IO[bytes]) -> _ReceivedBytes:
    """Write the body to `file`; requests the rest after an interruption, or the whole file again if it has changed."""
    received = _ReceivedBytes(response.headers.get("ETag", ""))
    interruptions, max_size = 0, 0
    while True:
        with response:
            try:
                for chunk in response.iter_content(RESUMABLE_CHUNK_BYTES):
                    file.write(chunk)
                    received.add(chunk)
            except FAILURES:
                has_progress = received.size > max_size
                interruptions, max_size = (1, received.size) if has_progress else (interruptions + 1, max_size)
            else:
                return received
        if interruptions > MAX_INTERRUPTIONS:
            raise ServerUnreachableError("The download broke off several times at the same place; try again later.")
        response = send({**UNCOMPRESSED, "Range": f"bytes={received.size}-", "If-Range": received.tag})
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            received = _ReceivedBytes(response.headers.get("ETag", ""))
            file.seek(0)
            file.truncate()


def _saved_name(name: str, response: requests.Response) -> str:
    """Return the file name to save under: `name`, or for `latest` the one sent by the server; never a path."""
    _, separator, sent_name = response.headers.get("Content-Disposition", "").partition("filename=")
    for candidate in (name, sent_name.split(";")[0].strip('" ') if separator else ""):
        if record_step(candidate) is not None:
            return candidate
    raise BadAnswerError(f"The server sent no name of a record for {name!r}; check its version.")

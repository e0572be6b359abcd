"""The bytes of one HTTP request as they arrive, and whether all of it is there.

It only finds where the request ends. What is wrong with it is for gunicorn's parser to say, so anything odd counts as
whole: the parser then refuses it without waiting for more.
"""

import re

MAX_HEAD_BYTES = 64 * 1024
MAX_REQUEST_LINE_BYTES = 4094
MAX_FIELDS = 64
MAX_FIELD_BYTES = 8190
"""These three are what gunicorn's parser is told: `api/server/gunicorn_config.py`."""

MAX_BODY_BYTES = 64 * 1024
MAX_CHUNKED_BYTES = 4 * MAX_BODY_BYTES
"""With chunks of a few bytes, their sizes outweigh the body."""
MAX_LINE_BYTES = 8 * 1024
"""The size of a chunk with what may follow it in its line; also all trailers together."""

_END_OF_HEAD = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_SIZE = re.compile(rb"[0-9a-fA-F]+")


class RequestBuffer:
    """One request, from its first byte on."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_whole = False
        self.refusal: str | None = None
        """The slug of the problem for which the request is refused before it is whole."""
        self.awaits_continue = False
        """Whether the sender holds the body back until it is told to go on."""
        self._looked_at = 0
        self._end: int | None = None
        self._next_chunk: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether no more bytes are needed to know what to do."""
        return self.is_whole or self.refusal is not None

    def add(self, piece: bytes) -> None:
        """Take in what arrived."""
        self.data += piece
        if self._end is None and self._next_chunk is None:
            self._look_for_head()
        if self._next_chunk is not None:
            self._walk_chunks(self._next_chunk)
        if self._end is not None and len(self.data) >= self._end:
            self.is_whole = True

    def _look_for_head(self) -> None:
        start = max(0, self._looked_at - len(_END_OF_HEAD))
        at = self.data.find(_END_OF_HEAD, start)
        if at >= 0:
            self._read_head(bytes(self.data[:at]).lower(), at + len(_END_OF_HEAD))
        elif _BARE_LINE_FEED.search(self.data, start):
            self._end = 0
        elif len(self.data) > MAX_HEAD_BYTES:
            self.refusal = "head-too-large"
        self._looked_at = len(self.data)

    def _read_head(self, head: bytes, body_at: int) -> None:
        request_line, *lines = head.lstrip(b"\r\n").split(b"\r\n")
        fields = [line.partition(b":") for line in lines]
        given = {name: value.strip() for name, _, value in fields}
        length = given.get(b"content-length", b"0")
        if b"chunked" in given.get(b"transfer-encoding", b"") and b"content-length" not in given:
            self._next_chunk = body_at
        elif b"transfer-encoding" in given or not length.isdigit():
            self._end = body_at
        elif len(length) > 18 or int(length) > MAX_BODY_BYTES:
            self.refusal = "body-too-large"
        else:
            self._end = body_at + int(length)
        # A client of HTTP/1.0 would take "100 Continue" for the answer.
        self.awaits_continue = given.get(b"expect") == b"100-continue" and not request_line.endswith(b"/1.0")

    def _walk_chunks(self, at: int) -> None:
        """Go from chunk to chunk as far as they are here; the last one has size 0, trailers may follow it."""
        while (line_end := self.data.find(b"\r\n", at)) >= 0:
            size = _SIZE.match(self.data, at)
            if size is None:
                self._end = line_end
                return
            if int(size[0], 16) == 0:
                self._look_for_trailers_end(line_end)
                break
            at = line_end + 2 + int(size[0], 16) + 2
        self._next_chunk = at
        if self._end is None and (at > MAX_CHUNKED_BYTES or len(self.data) - at > MAX_LINE_BYTES):
            self.refusal = "body-too-large"

    def _look_for_trailers_end(self, line_end: int) -> None:
        end = self.data.find(_END_OF_HEAD, line_end)
        if end >= 0:
            self._end = end + len(_END_OF_HEAD)

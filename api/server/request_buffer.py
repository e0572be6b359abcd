"""Buffer for the bytes of one HTTP request; detects when the request is complete.

It only finds the end of the request. Validation is left to gunicorn's parser, so a malformed request counts as
complete: the parser then rejects it without waiting for more bytes.
"""

import re

MAX_HEAD_BYTES = 64 * 1024
MAX_REQUEST_LINE_BYTES = 4094
MAX_FIELDS = 64
MAX_FIELD_BYTES = 8190
"""These three limits are also those of gunicorn's parser: `api/server/gunicorn_config.py`."""

MAX_BODY_BYTES = 64 * 1024
MAX_CHUNKED_BYTES = 4 * MAX_BODY_BYTES
"""Limit for a chunked body with its chunk sizes, which exceed the body if chunks have only a few bytes."""
MAX_LINE_BYTES = 8 * 1024
"""Limit for the size line of a chunk with its extensions, and for all trailers together."""

_HEAD_END = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_SIZE = re.compile(rb"[0-9a-fA-F]+")


class RequestBuffer:
    """Bytes of one request, from its first byte on."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_complete = False
        self.problem: str | None = None
        """Slug of the problem with which the request is rejected before it is complete."""
        self.awaits_continue = False
        """Whether the client waits for `100 Continue` before it sends the body."""
        self._searched_up_to = 0
        self._end: int | None = None
        self._next_chunk: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the request is complete or rejected, so that no more bytes are needed."""
        return self.is_complete or self.problem is not None

    def add(self, content: bytes) -> None:
        """Append received bytes."""
        self.data += content
        if self._end is None and self._next_chunk is None:
            self._find_head_end()
        if self._next_chunk is not None:
            self._scan_chunks(self._next_chunk)
        if self._end is not None and len(self.data) >= self._end:
            self.is_complete = True

    def _find_head_end(self) -> None:
        start = max(0, self._searched_up_to - len(_HEAD_END))
        position = self.data.find(_HEAD_END, start)
        if position + len(_HEAD_END) > MAX_HEAD_BYTES:
            self.problem = "head-too-large"  # also if all of it arrived at once
        elif position >= 0:
            self._parse_head(bytes(self.data[:position]).lower(), position + len(_HEAD_END))
        elif _BARE_LINE_FEED.search(self.data, start):
            self._end = 0
        elif len(self.data) > MAX_HEAD_BYTES:
            self.problem = "head-too-large"
        self._searched_up_to = len(self.data)

    def _parse_head(self, head: bytes, body_start: int) -> None:
        request_line, *lines = head.lstrip(b"\r\n").split(b"\r\n")
        fields = [line.partition(b":") for line in lines]
        headers = {name: value.strip() for name, _, value in fields}
        length = headers.get(b"content-length", b"0")
        # A length given twice is an error of the sender, which the parser refuses; neither length is waited for.
        has_two_lengths = sum(name == b"content-length" for name, _, _ in fields) > 1
        if b"chunked" in headers.get(b"transfer-encoding", b"") and b"content-length" not in headers:
            self._next_chunk = body_start
        elif b"transfer-encoding" in headers or has_two_lengths or not length.isdigit():
            self._end = body_start
        elif len(length) > 18 or int(length) > MAX_BODY_BYTES:
            self.problem = "body-too-large"
        else:
            self._end = body_start + int(length)
        # An HTTP/1.0 client would take "100 Continue" for the final response.
        self.awaits_continue = headers.get(b"expect") == b"100-continue" and not request_line.endswith(b"/1.0")

    def _scan_chunks(self, position: int) -> None:
        """Skip the chunks received so far; the last one has size 0 and may be followed by trailers."""
        while (line_end := self._line_end(position)) >= 0:
            size = _SIZE.match(self.data, position)
            if size is None:
                self._end = line_end
                return
            if int(size[0], 16) == 0:
                self._end = self._trailers_end(line_end)
                break
            position = line_end + 2 + int(size[0], 16) + 2
            if position > MAX_CHUNKED_BYTES:
                break
        self._next_chunk = position
        if self._end is None and (position > MAX_CHUNKED_BYTES or len(self.data) - position > MAX_LINE_BYTES):
            self.problem = "body-too-large"

    def _line_end(self, position: int) -> int:
        """Return the end of the line that begins at `position`, or -1 if it has none or is too long."""
        return self.data.find(b"\r\n", position, position + MAX_LINE_BYTES)

    def _trailers_end(self, line_end: int) -> int | None:
        """Return the end of the trailers after the last chunk's size, or None if they have none or are too long."""
        end = self.data.find(_HEAD_END, line_end, line_end + MAX_LINE_BYTES)
        return end + len(_HEAD_END) if end >= 0 else None

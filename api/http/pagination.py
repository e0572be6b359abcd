"""Pages of long lists: `limit`, `cursor` and the link to the next page. A cursor encodes where a page ended."""

import base64
import binascii
import math
import re
from urllib.parse import quote, urlencode

from flask import request

from api.http.parameters import Parameter
from api.http.proxies import external_path

_TEXT = re.compile(r"[A-Za-z0-9_-]{1,1024}")


class Count(Parameter[int | None]):
    """Whole number from `minimum` to `maximum`, or None."""

    def __init__(self, name: str, meaning: str, *, minimum: int = 1, maximum: int) -> None:
        super().__init__(name, meaning, {"type": "integer", "minimum": minimum, "maximum": maximum}, None)
        self._minimum, self._maximum = minimum, maximum

    def _parse(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not self._minimum <= int(text) <= self._maximum:
            raise self._invalid(text, f"a whole number from {self._minimum} to {self._maximum}")
        return int(text)


class Cursor(Parameter[tuple[int, str] | None]):
    """Position at which an earlier answer ended, as that answer gave it: a number, such as a step, and a name."""

    def __init__(
        self,
        name: str = "cursor",
        meaning: str = "where to go on: the `next_cursor` of the page before",
        must_be: str = "the next_cursor of the page before",
    ) -> None:
        schema = {"type": "string", "pattern": f"^{_TEXT.pattern}$", "format": "cursor"}
        super().__init__(name, meaning, schema, None)
        self._must_be = must_be

    def _parse(self, text: str) -> tuple[int, str]:
        try:
            step, _, name = _decoded(text).partition("/")
            if re.fullmatch(r"[0-9]{1,18}", step):
                return int(step), name
        except ValueError:
            pass
        raise self._invalid(text, self._must_be)


class RunCursor(Parameter[tuple[float, str] | None]):
    """Position at which an earlier page of runs ended: the start of a run (Unix seconds) and its id."""

    def __init__(self) -> None:
        schema = {"type": "string", "pattern": f"^{_TEXT.pattern}$", "format": "cursor"}
        super().__init__("cursor", "where to go on: the `next_cursor` of the page before", schema, None)

    def _parse(self, text: str) -> tuple[float, str]:
        try:
            started_at, _, run_id = _decoded(text).partition("/")
            if math.isfinite(float(started_at)):
                return float(started_at), run_id
        except ValueError:
            pass
        raise self._invalid(text, "the next_cursor of the page before")


def cursor_text(position: tuple[float, str]) -> str:
    """Encode a position as a cursor: a step or a time, and a name."""
    number, name = position
    content = f"{number!r}/{name}".encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def next_link(cursor: str) -> str:
    """Return the value of a `Link` header to the next page of the current request."""
    query = urlencode({**request.args, "cursor": cursor})
    return f'<{external_path(quote(request.path))}?{query}>; rel="next"'


def _decoded(text: str) -> str:
    """Decode the text of a cursor; raises `ValueError`."""
    if not _TEXT.fullmatch(text):
        raise ValueError(text)
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(text) from error
    return content.decode("utf-8", "surrogateescape")

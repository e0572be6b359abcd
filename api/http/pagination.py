"""Pages of long lists: `limit`, `cursor` and the link to the next page. A cursor says where a page ended."""

import base64
import binascii
import re
from urllib.parse import quote, urlencode

from flask import request

from api.http.parameters import Parameter

_TEXT = re.compile(r"[A-Za-z0-9_-]{1,1024}")


class Count(Parameter[int | None]):
    """A whole number from `least` to `most`, or None."""

    def __init__(self, name: str, meaning: str, *, least: int = 1, most: int) -> None:
        super().__init__(name, meaning, {"type": "integer", "minimum": least, "maximum": most}, None)
        self._least, self._most = least, most

    def _parse(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not self._least <= int(text) <= self._most:
            raise self._refusal(text, f"a whole number from {self._least} to {self._most}")
        return int(text)


class Cursor(Parameter[tuple[int, str] | None]):
    """Where an earlier page ended: a step and a name."""

    def __init__(self) -> None:
        schema = {"type": "string", "pattern": f"^{_TEXT.pattern}$", "format": "cursor"}
        super().__init__("cursor", "where to go on: the `next_cursor` of the page before", schema, None)

    def _parse(self, text: str) -> tuple[int, str]:
        try:
            step, _, name = _decoded(text).partition("/")
            if re.fullmatch(r"[0-9]{1,18}", step):
                return int(step), name
        except ValueError:
            pass
        raise self._refusal(text, "the next_cursor of the page before")


def cursor_text(position: tuple[int, str]) -> str:
    """The cursor that leads on from a position."""
    step, name = position
    content = f"{step}/{name}".encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def next_link(cursor: str) -> str:
    """The value of a `Link` header that leads to the present request's next page."""
    query = urlencode({**request.args, "cursor": cursor})
    return f'<{quote(request.path)}?{query}>; rel="next"'


def _decoded(text: str) -> str:
    """The text in a cursor; raises `ValueError`."""
    if not _TEXT.fullmatch(text):
        raise ValueError(text)
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(text) from error
    return content.decode("utf-8", "surrogateescape")

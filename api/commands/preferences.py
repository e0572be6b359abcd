"""The `Prefer` header (RFC 7240): `wait=<seconds>` and `respond-async`, and what of it was applied.

A preference is a wish: what is not known, malformed or cannot be granted is ignored, never refused.
"""

import re
from dataclasses import dataclass

from flask import Response

from api.http.parameters import Parameter

_PREFERENCE = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s",;]*))?[^,]*""")


@dataclass(frozen=True)
class Preferences:
    """How a client would like its command to be answered; `wait` is in seconds, None if it has no such wish."""

    wait: int | None = None
    respond_async: bool = False


class PreferHeader(Parameter[Preferences | None]):
    """The header itself; of a preference that is given twice, the first counts."""

    def __init__(self, maximum_wait: int) -> None:
        meaning = "`wait=<seconds>`, as the parameter `wait`, and `respond-async` (RFC 7240); anything else is ignored"
        super().__init__("Prefer", meaning, {"type": "string"}, None, "header")
        self._maximum_wait = maximum_wait

    def _parse(self, text: str) -> Preferences:
        wishes: dict[str, str] = {}
        for name, value in _PREFERENCE.findall(text):
            wishes.setdefault(name.lower(), value.strip('"'))
        wait = wishes.get("wait", "")
        is_number = wait.isascii() and wait.isdigit() and len(wait) < 10
        return Preferences(min(int(wait), self._maximum_wait) if is_number else None, "respond-async" in wishes)


def declare_applied(response: Response, preferences: Preferences, *, has_waited: bool) -> None:
    """Add `Preference-Applied` for the wishes that the response grants, `wait` only if it could wait."""
    applied = [f"wait={preferences.wait}"] if has_waited and preferences.wait is not None else []
    applied += ["respond-async"] if preferences.respond_async and response.status_code == 202 else []
    if applied:
        response.headers["Preference-Applied"] = ", ".join(applied)

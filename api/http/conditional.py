"""Responses with validators: conditional requests and byte ranges (RFC 9110, sections 13 and 14).

Werkzeug's own implementation sends a range although If-None-Match matches, answers HEAD with 206 and a long suffix
range with 416, and accepts an If-Range with a later date. Resuming a download needs all four to be correct.
"""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flask import Response, request
from werkzeug.http import http_date, parse_date

from api.http.operation import Answer
from api.http.problems import ProblemError

NOT_MODIFIED = Answer(
    media_type="", description="what If-None-Match or If-Modified-Since names is still right", status=304
)
RANGE = {"Content-Range": "which of the bytes, and of how many"}
PRECONDITIONS = ("precondition-failed", "range-not-satisfiable")
"""Slugs of the problems that `respond` raises."""

_RANGE = re.compile(r"([0-9]*)[ \t]*-[ \t]*([0-9]*)")
_MAX_DIGITS = 18


@dataclass(frozen=True)
class Representation:
    """Current content of a resource. `sha256` (hexadecimal) is its strong ETag; `modified_at` is Unix seconds."""

    content: bytes
    media_type: str
    sha256: str
    modified_at: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def last_modified(self) -> datetime | None:
        """Modification time in whole seconds, clamped to 1970 … now: dates outside may not be representable."""
        if self.modified_at is None:
            return None
        return datetime.fromtimestamp(int(min(max(self.modified_at, 0.0), time.time())), UTC)


def respond(representation: Representation) -> Response:
    """Build the response to the current GET or HEAD: 200, 206 or 304; raises `ProblemError` (412, 416)."""
    _require_preconditions(representation)
    response = Response(mimetype=representation.media_type)
    _describe(response, representation)
    if _is_not_modified(representation):
        response.status_code = 304
        return response
    byte_range = _requested_range(representation)
    if byte_range is None:
        response.data = representation.content
    else:
        response.status_code = 206
        response.data = representation.content[byte_range]
        response.headers["Content-Range"] = (
            f"bytes {byte_range.start}-{byte_range.stop - 1}/{len(representation.content)}"
        )
    return response


def _describe(response: Response, representation: Representation) -> None:
    response.set_etag(representation.sha256)
    response.accept_ranges = "bytes"
    if representation.last_modified is not None:
        response.last_modified = representation.last_modified
    digest = base64.b64encode(bytes.fromhex(representation.sha256)).decode()
    response.headers["Repr-Digest"] = f"sha-256=:{digest}:"
    # Caches must revalidate: a run rewrites a file when it repeats a step after a rollback or starts again.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.update(representation.headers)


def _require_preconditions(representation: Representation) -> None:
    if "If-Match" in request.headers:
        holds = request.if_match.contains(representation.sha256)
    else:
        unmodified_since, modified = request.if_unmodified_since, representation.last_modified
        holds = unmodified_since is None or modified is None or modified <= unmodified_since
    if not holds:
        raise ProblemError("precondition-failed", f"{request.path} is not what the request expects; fetch it anew.")


def _is_not_modified(representation: Representation) -> bool:
    if "If-None-Match" in request.headers:
        return request.if_none_match.contains_weak(representation.sha256)
    since, modified = request.if_modified_since, representation.last_modified
    return since is not None and modified is not None and modified <= since


def _requested_range(representation: Representation) -> slice | None:
    """Return the requested byte range, None for the whole content; raises `ProblemError` (range-not-satisfiable)."""
    unit, is_present, ranges = request.headers.get("Range", "").partition("=")
    requested = [item.strip(" \t") for item in ranges.split(",") if item.strip(" \t")]
    applies = is_present and unit.strip().lower() == "bytes" and request.method == "GET"
    # RFC 9110 allows the whole content as the answer to several ranges and requires it for an unknown unit.
    if not applies or len(requested) > 1 or not representation.content or not _if_range_matches(representation):
        return None
    byte_range = _parse_range(requested[0] if requested else "", len(representation.content))
    if byte_range is None:
        raise ProblemError(
            "range-not-satisfiable",
            f"There is no range {ranges!r} in {len(representation.content)} bytes.",
            {"Content-Range": f"bytes */{len(representation.content)}"},
        )
    return byte_range


def _if_range_matches(representation: Representation) -> bool:
    """Whether If-Range is absent or matches the current content exactly."""
    condition = request.headers.get("If-Range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == f'"{representation.sha256}"'
    modified = representation.last_modified
    # A date is a strong validator only once its second has passed.
    is_strong = modified is not None and time.time() - modified.timestamp() >= 1
    return is_strong and parse_date(condition) == modified and condition == http_date(modified)


def _parse_range(text: str, size: int) -> slice | None:
    """Parse one range (`0-99`, `100-`, `-50`) of `size` bytes; None if it is malformed or empty."""
    match = _RANGE.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    first, last = (None if group == "" else int(group.lstrip("0")[:_MAX_DIGITS] or 0) for group in match.groups())
    if first is None:
        return slice(max(0, size - (last or 0)), size) if last else None
    stop = size if last is None else min(size, last + 1)
    return slice(first, stop) if first < stop else None

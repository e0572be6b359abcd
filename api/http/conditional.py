"""Bytes with validators: conditional requests and ranges as RFC 9110 has them (sections 13 and 14).

Werkzeug's own help answers a range although If-None-Match holds, a HEAD with 206, a long suffix with 416, and lets an
If-Range with a later date pass; a download that is resumed needs all of it right.
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
"""What `respond` may refuse."""

_RANGE = re.compile(r"([0-9]*)[ \t]*-[ \t]*([0-9]*)")
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Representation:
    """What a resource is now. `sha256` in hexadecimal is its strong ETag, `modified_at` Unix seconds if known."""

    content: bytes
    media_type: str
    sha256: str
    modified_at: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def last_modified(self) -> datetime | None:
        """To the second, never later than now, nor before 1970, where a calendar may end."""
        if self.modified_at is None:
            return None
        return datetime.fromtimestamp(int(min(max(self.modified_at, 0.0), time.time())), UTC)


def respond(found: Representation) -> Response:
    """Answer the present GET or HEAD: 200, 206 or 304; raises `ProblemError` (412, 416)."""
    _require_preconditions(found)
    response = Response(mimetype=found.media_type)
    _describe(response, found)
    if _is_known(found):
        response.status_code = 304
        return response
    part = _wanted_part(found)
    if part is None:
        response.data = found.content
    else:
        response.status_code = 206
        response.data = found.content[part]
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(found.content)}"
    return response


def _describe(response: Response, found: Representation) -> None:
    response.set_etag(found.sha256)
    response.accept_ranges = "bytes"
    if found.last_modified is not None:
        response.last_modified = found.last_modified
    digest = base64.b64encode(bytes.fromhex(found.sha256)).decode()
    response.headers["Repr-Digest"] = f"sha-256=:{digest}:"
    # May be kept, but only used after asking: a run that goes back over a step, or starts afresh, writes it anew.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.update(found.headers)


def _require_preconditions(found: Representation) -> None:
    if "If-Match" in request.headers:
        holds = request.if_match.contains(found.sha256)
    else:
        unmodified_since, modified = request.if_unmodified_since, found.last_modified
        holds = unmodified_since is None or modified is None or modified <= unmodified_since
    if not holds:
        raise ProblemError("precondition-failed", f"{request.path} is not what the request expects; fetch it anew.")


def _is_known(found: Representation) -> bool:
    if "If-None-Match" in request.headers:
        return request.if_none_match.contains_weak(found.sha256)
    since, modified = request.if_modified_since, found.last_modified
    return since is not None and modified is not None and modified <= since


def _wanted_part(found: Representation) -> slice | None:
    """The one range that is asked for, or None for all; raises `ProblemError` (range-not-satisfiable)."""
    unit, is_given, ranges = request.headers.get("Range", "").partition("=")
    wanted = [item.strip(" \t") for item in ranges.split(",") if item.strip(" \t")]
    is_ours = is_given and unit.strip().lower() == "bytes" and request.method == "GET"
    # Several ranges may be answered with everything, and an unknown unit must be.
    if not is_ours or len(wanted) > 1 or not found.content or not _may_continue(found):
        return None
    part = _part(wanted[0] if wanted else "", len(found.content))
    if part is None:
        raise ProblemError(
            "range-not-satisfiable",
            f"There is no range {ranges!r} in {len(found.content)} bytes.",
            {"Content-Range": f"bytes */{len(found.content)}"},
        )
    return part


def _may_continue(found: Representation) -> bool:
    """Whether If-Range, if there is one, names exactly what there is now."""
    condition = request.headers.get("If-Range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == f'"{found.sha256}"'
    modified = found.last_modified
    # A date is a strong validator only once its second is over.
    is_over = modified is not None and time.time() - modified.timestamp() >= 1
    return is_over and parse_date(condition) == modified and condition == http_date(modified)


def _part(text: str, size: int) -> slice | None:
    match = _RANGE.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    first, last = (None if group == "" else int(group.lstrip("0")[:_MOST_DIGITS] or 0) for group in match.groups())
    if first is None:
        return slice(max(0, size - (last or 0)), size) if last else None
    stop = size if last is None else min(size, last + 1)
    return slice(first, stop) if first < stop else None

"""When one request is sent again, and after which pause; only for requests that may be sent twice."""

import time

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from service.client.errors import ApiError

UNREACHED_PAUSES_SECONDS = (0.1, 0.4)
"""Pauses before asking again where nothing was ever reached: most likely nobody serves there."""
ABSENCE_SECONDS = 15.0
"""How long a server may stay away that was reached and broke off: the launcher restarts an API that died."""
MOST_REFUSALS = 4
"""How often a request that is refused for the moment is sent again."""
USUAL_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""The pause after a refusal that names none; a server that asks for a longer one is not waited for."""

FAILURES = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""What a connection that breaks raises, `requests.exceptions.SSLError` included."""

_FIRST_PAUSE_SECONDS, _LONGEST_STEP_SECONDS = 0.1, 2.0


class RetryPolicy:
    """The attempts at one request. Each method says how long to pause before the next, None when there is none."""

    def __init__(self, *, may_repeat: bool) -> None:
        self._may_repeat = may_repeat
        self._failures = 0
        self._refusals = 0
        self._lost_at: float | None = None

    @property
    def was_reached(self) -> bool:
        """Whether the server may have seen the request in one of them."""
        return self._lost_at is not None

    def after_failure(self, failure: requests.RequestException) -> float | None:
        """The pause after a connection that failed."""
        now = time.monotonic()
        self._failures += 1
        if self._lost_at is None and not _was_never_reached(failure):
            self._lost_at = now
        if not self._may_repeat or isinstance(failure, requests.exceptions.SSLError):
            return None
        if self._lost_at is None:
            left = UNREACHED_PAUSES_SECONDS[self._failures - 1 :]
            return left[0] if left else None
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1), _LONGEST_STEP_SECONDS)
        return pause if now + pause < self._lost_at + ABSENCE_SECONDS else None

    def after_refusal(self, refused: ApiError) -> float | None:
        """The pause after an answer of 300 or above."""
        self._refusals += 1
        if not self._may_repeat or not refused.is_passing or self._refusals > MOST_REFUSALS:
            return None
        pause = USUAL_PAUSE_SECONDS if refused.retry_after_seconds is None else refused.retry_after_seconds
        return pause if pause <= LONGEST_PAUSE_SECONDS else None


def _was_never_reached(failure: requests.RequestException) -> bool:
    """Whether no connection came about: the server cannot have seen the request."""
    if isinstance(failure, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    cause = failure.args[0] if failure.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)

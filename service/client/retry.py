"""Retry policy of one request; only requests that may be sent twice are repeated."""

import time

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from service.client.errors import ApiError

UNREACHED_PAUSES_SECONDS = (0.1, 0.4)
"""Pauses before retries if no connection was ever established: most likely there is no server."""
MAX_OUTAGE_SECONDS = 15.0
"""Duration of retries after an established connection broke: the launcher restarts an API that died."""
MAX_REFUSAL_RETRIES = 4
"""Maximum number of retries after answers with a transient error status."""
DEFAULT_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
"""Pause after an error status without `Retry-After`; there is no retry if the server requests a longer pause."""

FAILURES = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""Exceptions of a broken connection; they include `requests.exceptions.SSLError`."""

INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.1, 2.0
"""Pauses before retries after an established connection broke double from the first to the second value."""


class RetryPolicy:
    """The retry state of one request. Methods return the pause in seconds before the next attempt, or None for none."""

    def __init__(self, *, may_repeat: bool) -> None:
        self._may_repeat = may_repeat
        self._failures = 0
        self._refusals = 0
        self._lost_at: float | None = None

    @property
    def was_reached(self) -> bool:
        """True if the server may have received the request in one of the attempts."""
        return self._lost_at is not None

    def after_failure(self, failure: requests.RequestException) -> float | None:
        """Return the pause after a failed connection."""
        now = time.monotonic()
        self._failures += 1
        if self._lost_at is None and not _never_connected(failure):
            self._lost_at = now
        if not self._may_repeat or isinstance(failure, requests.exceptions.SSLError):
            return None
        if self._lost_at is None:
            remaining = UNREACHED_PAUSES_SECONDS[self._failures - 1 :]
            return remaining[0] if remaining else None
        pause = min(INITIAL_BACKOFF_SECONDS * 2 ** (self._failures - 1), MAX_BACKOFF_SECONDS)
        return pause if now + pause < self._lost_at + MAX_OUTAGE_SECONDS else None

    def after_refusal(self, refused: ApiError) -> float | None:
        """Return the pause after an answer with a status of 300 or above."""
        self._refusals += 1
        if not self._may_repeat or not refused.is_transient or self._refusals > MAX_REFUSAL_RETRIES:
            return None
        pause = DEFAULT_PAUSE_SECONDS if refused.retry_after_seconds is None else refused.retry_after_seconds
        return pause if pause <= MAX_PAUSE_SECONDS else None


def _never_connected(failure: requests.RequestException) -> bool:
    """Return True if no connection was established, so the server cannot have received the request."""
    if isinstance(failure, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    cause = failure.args[0] if failure.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)

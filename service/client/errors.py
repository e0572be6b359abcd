"""Every way in which asking the API can fail, as one sentence with a stable name and an exit code."""

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import requests

from service.errors import UserError

FINAL_REFUSALS = frozenset({"no-run", "no-trainer"})
"""Refusals with status 503 that asking again in a moment does not change."""

_EXIT_CODES = {
    int(HTTPStatus.REQUEST_TIMEOUT): 1,
    int(HTTPStatus.CONFLICT): 1,
    int(HTTPStatus.PRECONDITION_FAILED): 1,
    int(HTTPStatus.TOO_MANY_REQUESTS): 1,
    int(HTTPStatus.BAD_GATEWAY): 3,
    int(HTTPStatus.SERVICE_UNAVAILABLE): 3,
    int(HTTPStatus.GATEWAY_TIMEOUT): 3,
}
_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class ApiError(UserError):
    """The server refused; its sentence is the text.

    `status` is the HTTP status, `slug` the problem's stable type (`no-trainer`), empty where something else answered,
    and `retry_after_seconds` the pause that the server asked for, or None.
    """

    def __init__(self, text: str, status: int, slug: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.slug = slug
        self.retry_after_seconds = retry_after_seconds
        self.exit_code = _EXIT_CODES.get(status, 2 if status < 500 else 1)

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be accepted in a moment: too many requests, a store that is locked."""
        return self.status in _PASSING and self.slug not in FINAL_REFUSALS


class ServerUnreachableError(UserError):
    """Nothing answers at the server's address, or not to the end."""

    exit_code = 3
    slug = "server-unreachable"
    is_passing = True


class UntrustedServerError(UserError):
    """No TLS connection to this server can be trusted: another certificate, or none."""

    slug = "untrusted-server"


class BadAnswerError(UserError):
    """The server's answer is not one of this API, or arrived damaged."""

    exit_code = 1
    slug = "bad-answer"


class WaitTimeoutError(UserError):
    """A command did not end within the time allowed; it goes on."""

    exit_code = 124
    slug = "wait-timeout"


def error_for_response(url: str, response: requests.Response) -> ApiError:
    """The error for an answer of 300 or above: the server's own sentence, or what it answered instead of one."""
    try:
        problem = response.json()
    except (requests.JSONDecodeError, requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        problem = None
    found = problem if isinstance(problem, dict) else {}
    text, kind = found.get("detail") or found.get("title"), found.get("type")
    slug = kind.rpartition("/")[2] if isinstance(kind, str) else ""
    if not isinstance(text, str):
        answer = f"{response.status_code} {response.reason}"
        text, slug = f"{url} answered {answer}; check that this is the address of Leitstand's API.", ""
    return ApiError(text, response.status_code, slug, _pause_asked_for(response.headers.get("Retry-After")))


def not_our_api(url: str) -> BadAnswerError:
    """The error for an answer that is no refusal and not what was asked for."""
    return BadAnswerError(f"{url} does not answer as Leitstand's API does; check the address.")


def error_for_failure(
    url: str, failure: requests.RequestException, read_seconds: float, was_reached: bool, *, has_effect: bool
) -> UserError:
    """The error for a connection that failed for good."""
    if isinstance(failure, requests.exceptions.SSLError):
        return UntrustedServerError(
            f"No trusted TLS connection to {url} ({_tls_reason(failure)}): check the address, or name the file of its "
            "certificate authority (--ca, LEITSTAND_CA)."
        )
    if isinstance(failure, requests.exceptions.ProxyError):
        return ServerUnreachableError(
            f"The proxy that the environment names for {url} does not answer; add its host to NO_PROXY, or unset it."
        )
    if not was_reached:
        return ServerUnreachableError(
            f"Nothing answers at {url}: start it with `leitstand up` or `leitstand serve`, or give its address (--url, "
            "LEITSTAND_URL)."
        )
    doubt = " and may or may not have taken the command" if has_effect else ""
    if isinstance(failure, requests.ReadTimeout):
        return ServerUnreachableError(
            f"{url} did not answer within {read_seconds:g} s{doubt}; look at the server's output."
        )
    return ServerUnreachableError(f"{url} was reached, but broke off{doubt}; look at the server's output.")


def _pause_asked_for(retry_after: str | None) -> float | None:
    """Seconds of a header `Retry-After`, which is a number or a date; None where it says nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _tls_reason(failure: requests.exceptions.SSLError) -> str:
    """OpenSSL's own words, such as `certificate verify failed: self-signed certificate`."""
    text = str(failure)
    return text.rpartition("] ")[2].partition(" (_ssl")[0]

"""Errors of requests to the API; each has a one-sentence text, a stable name and an exit code."""

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import requests

from service.errors import FieldError, UserError

FINAL_REFUSALS = frozenset({"no-run", "no-trainer"})
"""Problem types with status 503 that a retry after a short time does not change."""

_EXIT_CODES = {
    int(HTTPStatus.REQUEST_TIMEOUT): 1,
    int(HTTPStatus.CONFLICT): 1,
    int(HTTPStatus.PRECONDITION_FAILED): 1,
    int(HTTPStatus.TOO_MANY_REQUESTS): 1,
    int(HTTPStatus.BAD_GATEWAY): 3,
    int(HTTPStatus.SERVICE_UNAVAILABLE): 3,
    int(HTTPStatus.GATEWAY_TIMEOUT): 3,
}
_TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class ApiError(UserError):
    """An error status of the server; the text is the server's sentence, in words that help who uses a client.

    `status` is the HTTP status, `slug` the problem's stable type (`no-trainer`), which is empty if something other than
    the API answered. `retry_after_seconds` is the pause that the server requested, or None. `errors` lists the wrong
    parts of the request, each with its own sentence.
    """

    def __init__(
        self,
        text: str,
        status: int,
        slug: str = "",
        retry_after_seconds: float | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(text)
        self.errors = list(errors)
        self.status = status
        self.slug = slug
        self.retry_after_seconds = retry_after_seconds
        self.exit_code = _EXIT_CODES.get(status, 2 if status < 500 else 1)

    @property
    def is_transient(self) -> bool:
        """True if a retry after a short time may succeed, for example after too many requests or for a locked store."""
        return self.status in _TRANSIENT and self.slug not in FINAL_REFUSALS


class ServerUnreachableError(UserError):
    """No answer, or an incomplete one, from the server's address."""

    exit_code = 3
    slug = "server-unreachable"
    is_transient = True


class UntrustedServerError(UserError):
    """A TLS connection that cannot be trusted: the certificate is invalid or missing."""

    slug = "untrusted-server"


class BadAnswerError(UserError):
    """An answer that is not one of this API, or was damaged in transit."""

    exit_code = 1
    slug = "bad-answer"


class WaitTimeoutError(UserError):
    """A command that did not end within the given time; it is not cancelled."""

    exit_code = 124
    slug = "wait-timeout"


def error_for_response(url: str, response: requests.Response) -> ApiError:
    """Return the error for a status of 300 or above, with the server's sentence or else its status as text."""
    try:
        problem = response.json()
    except (requests.JSONDecodeError, requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        problem = None
    fields = problem if isinstance(problem, dict) else {}
    text, kind = fields.get("detail") or fields.get("title"), fields.get("type")
    slug = kind.rpartition("/")[2] if isinstance(kind, str) else ""
    if not isinstance(text, str):
        answer = f"{response.status_code} {response.reason}"
        text, slug = f"{url} answered {answer}; check that this is the address of Leitstand's API.", ""
    errors = fields.get("errors")
    return ApiError(
        _said_to_people(text, slug, url, response),
        response.status_code,
        slug,
        _retry_after_seconds(response.headers.get("Retry-After")),
        errors if isinstance(errors, list) else [],
    )


def _said_to_people(text: str, slug: str, url: str, response: requests.Response) -> str:
    """Return the server's sentence, with what a person can do instead of the headers that a program sends."""
    if slug == "unauthorized":
        is_missing = "Authorization" not in response.request.headers
        problem = f"{url} needs a token: give one" if is_missing else f"{text.rstrip('.')}: give another"
        return f"{problem} (LEITSTAND_TOKEN, --token-file), made with `leitstand token create` on the server."
    return text.replace("The Host header is", "The host in the server's address is") if slug == "wrong-host" else text


def not_our_api(url: str) -> BadAnswerError:
    """Return the error for an answer that has a success status, but does not come from this API."""
    return BadAnswerError(f"{url} does not answer as Leitstand's API does; check the address.")


def damaged_file(name: str) -> BadAnswerError:
    """Return the error for a file of the run that the server sent as it is, and that is not what its name says."""
    return BadAnswerError(
        f"{name} is damaged: it is no JSON object; `leitstand stats get` downloads it as it is, to look at it."
    )


def error_for_failure(
    url: str, failure: requests.RequestException, read_seconds: float, was_reached: bool, *, has_effect: bool
) -> UserError:
    """Return the error for a connection that failed and is not retried.

    `was_reached`: the server may have received a request; `has_effect`: the request may have changed something.
    """
    if isinstance(failure, requests.exceptions.SSLError) and "WRONG_VERSION_NUMBER" in str(failure):
        return UntrustedServerError(
            f"What answers at {url} does not speak TLS: give the address with http://, or the port that has TLS."
        )
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
    uncertainty = " and may or may not have taken the command" if has_effect else ""
    if isinstance(failure, requests.ReadTimeout):
        return ServerUnreachableError(
            f"{url} did not answer within {read_seconds:g} s{uncertainty}; look at the server's output."
        )
    return ServerUnreachableError(f"{url} was reached, but broke off{uncertainty}; look at the server's output.")


def _retry_after_seconds(retry_after: str | None) -> float | None:
    """Return the seconds in a `Retry-After` header, which is a number or a date; None if it is missing or invalid."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _tls_reason(failure: requests.exceptions.SSLError) -> str:
    """Return OpenSSL's message, such as `certificate verify failed: self-signed certificate`."""
    text = str(failure)
    return text.rpartition("] ")[2].partition(" (_ssl")[0]

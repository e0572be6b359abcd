"""Authentication and origin checks of every request, and the security headers of every response.

With a token configured, a request must bear one; without a token, only this machine is served. Web pages of other sites
are always rejected. The operation of a route declares the scope that it needs; an endpoint without an operation needs
the widest scope. No response ever allows another origin to read it (CORS).
"""

import logging
import re
from contextlib import suppress
from functools import lru_cache
from urllib.parse import quote

from flask import Flask, Response, current_app, g, request

from api.http import proxies
from api.http.operation import Operation, Scope, operation_of, wants_page
from api.http.problems import ProblemError
from api.http.rate_limit import RateLimit, RateLimits, client_network
from service.auth.hosts import host_names, is_loopback, normalized_name
from service.auth.tokens import Token, TokenFileError, TokenReader, TokenScope, token_file_path
from service.config.settings import RunConfig

ANONYMOUS = "anonymous"
CLIENT_KEY = "leitstand.client"
"""Key of the WSGI environment that holds the name of the request's token, for the access log."""
LIVENESS_ENDPOINT = "health.livez"
"""Exempt from all checks: a liveness probe has no token, may use any Host and must not be rate limited."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
FOREIGN_SITES = frozenset({"cross-site", "same-site"})

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SECURITY_HEADERS = (
    ("Content-Security-Policy", CONTENT_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
TLS_HEADER = ("Strict-Transport-Security", "max-age=2592000")
"""Sent over TLS only, valid for 30 days: it applies to every port of this host name, also those of other programs."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]+)?")

logger = logging.getLogger(__name__)


def register(app: Flask, config: RunConfig) -> None:
    """Install the checks and headers on `app`; raises `SettingError` if API_HOSTS holds anything but host names."""
    proxies.register(app, config.api_proxies)
    app.before_request(Guard(config).check)
    app.after_request(_add_headers)


def client_name() -> str:
    """Return the authenticated name of the current request's client: the name of its token, or `anonymous`."""
    return authenticated_name() or ANONYMOUS


def authenticated_name() -> str | None:
    """Return the name of the current request's token; None where no token is needed."""
    name = g.get("token_name")
    assert name is None or isinstance(name, str)
    return name


class Guard:
    """Checks of one server, in the order in which they run; each raises `ProblemError`."""

    def __init__(self, config: RunConfig) -> None:
        self._host_names = host_names(config)
        self._tokens = TokenReader(config.api_token, token_file_path(config))
        self._rate_limits = RateLimits(config)
        self._is_served_host = lru_cache(maxsize=256)(self._is_host_served)

    def check(self) -> None:
        """Check the current request; raises `ProblemError` if it is rejected."""
        if request.endpoint == LIVENESS_ENDPOINT:
            return
        self._require_served_host()
        _require_same_origin()
        operation = operation_of(current_app, request.endpoint)
        scope = _scope_of(operation)
        address = client_network(request.remote_addr or "")
        if self._tokens.is_required and scope is not Scope.OPEN:
            token = self._authenticate(address)
            g.token_name = request.environ[CLIENT_KEY] = token.name
            self._count_request(scope, operation, f"token {token.name}")
            _require_scope(token, scope)
        else:
            self._count_request(scope, operation, address)

    def _require_served_host(self) -> None:
        """Reject a Host header that is not served, which prevents DNS rebinding."""
        host = request.headers.get("Host", "")
        if not self._is_served_host(host):
            served = ", ".join(sorted(self._host_names)) or "127.0.0.1 and localhost"
            why = "API_HOSTS names others" if self._host_names else "without a token no other name is served"
            raise ProblemError("wrong-host", f"The Host header is {host!r}, but {why}: ask {served}.")

    def _is_host_served(self, host: str) -> bool:
        if not self._host_names and self._tokens.is_required:
            return True  # a DNS-rebinding page has no token
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = normalized_name(match.group(1))
        return name in self._host_names if self._host_names else is_loopback(name)

    def _authenticate(self, address: str) -> Token:
        """Return the token of the current request; raises `ProblemError` if it has none or an unknown one.

        Only API_TOKEN, which a person chose, can be weak enough to be guessed. After too many wrong tokens from an
        address, API_TOKEN is not accepted from there for a while; generated tokens from the token file still are.
        """
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            _take(self._rate_limits.reads, address)
            raise _unauthorized("Send a token as `Authorization: Bearer <token>`.", 'Bearer realm="leitstand"')
        wrong_tokens = self._rate_limits.wrong_tokens
        try:
            # WSGI decodes header bytes as Latin-1.
            secret = credentials.strip().encode("latin-1", "replace")
            token = self._tokens.find(secret, include_configured=wrong_tokens.has_capacity(address))
        except TokenFileError:
            raise ProblemError(
                "tokens-unavailable", "The server's file of tokens cannot be used; its log says why."
            ) from None
        if token is None:
            _take(wrong_tokens, address)
            logger.warning("%s %s from %s: unknown or expired token", request.method, quote(request.path), address)
            raise _unauthorized(
                "The token is unknown, revoked or expired.", 'Bearer realm="leitstand", error="invalid_token"'
            )
        return token

    def _count_request(self, scope: Scope, operation: Operation | None, client: str) -> None:
        is_command = scope is Scope.CONTROL and not _is_dry_run(operation)
        _take(self._rate_limits.commands if is_command else self._rate_limits.reads, client)


def _take(rate_limit: RateLimit, client: str) -> None:
    """Count the current request, and keep what its response says of the rest; raises `ProblemError`."""
    g.rate_limit_fields = rate_limit.require_capacity(client)


def _scope_of(operation: Operation | None) -> Scope:
    """Return the scope that the current request needs; fails closed for an endpoint without an operation."""
    if operation is not None:
        return Scope.OPEN if operation.has_open_page and wants_page() else operation.scope
    if request.endpoint is None:
        return Scope.READ  # the response will be 404 or 405
    return Scope.OPEN if request.endpoint == "static" else Scope.CONTROL


def _is_dry_run(operation: Operation | None) -> bool:
    flags = (
        [] if operation is None else [parameter for parameter in operation.parameters if parameter.name == "dry_run"]
    )
    with suppress(ProblemError):  # an invalid value: the request is counted first and rejected later
        return any(flag.value() is True for flag in flags)
    return False


def _require_scope(token: Token, scope: Scope) -> None:
    if scope is Scope.CONTROL and token.scope is not TokenScope.CONTROL:
        raise ProblemError(
            "insufficient-scope",
            f"The token {token.name!r} may only read; use one made with --scope control.",
            {"WWW-Authenticate": 'Bearer realm="leitstand", error="insufficient_scope", scope="control"'},
        )


def _require_same_origin() -> None:
    """Reject requests that a page of another site made a browser send; raises `ProblemError` (foreign-origin).

    An unsafe request must come from the server's own page or from no page at all. Safe requests of other pages are
    rejected too if the browser labels them: such a page cannot read the response, but it could occupy all event
    streams. Following a link to this server is allowed.
    """
    headers, is_safe = request.headers, request.method in SAFE_METHODS
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if origin is not None and not is_safe and not _is_own_origin(origin):
        own = f"{request.scheme}://{headers.get('Host', '')}"
        raise ProblemError(
            "foreign-origin",
            f"The request comes from {origin!r}, which is not this server's own page at {own!r}; a proxy in front with "
            "TLS must send X-Forwarded-Proto, and API_PROXIES must count it.",
        )
    if site in FOREIGN_SITES and not (is_safe and _is_link_navigation()):
        raise ProblemError("foreign-origin", f"The request comes from another web page ({site}).")


def _is_link_navigation() -> bool:
    """Whether a browser navigates to the response as a top-level page, not in a frame and not for a script."""
    return (request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest")) == ("navigate", "document")


def _is_own_origin(origin: str) -> bool:
    """Whether an origin has this request's scheme, as trusted proxies report it, and its host and port."""
    scheme, host = request.scheme.lower(), request.headers.get("Host", "").lower()
    host = host.removesuffix(DEFAULT_PORTS.get(scheme, ""))  # browsers leave it out of an origin, some proxies do not
    return host != "" and origin.lower() == f"{scheme}://{host}"


def _unauthorized(detail: str, challenge: str) -> ProblemError:
    return ProblemError("unauthorized", detail, {"WWW-Authenticate": challenge})


def _add_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS:
        response.headers.setdefault(name, value)
    for name, value in g.get("rate_limit_fields", {}).items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.add(*TLS_HEADER)
    response.headers.setdefault("Cache-Control", "no-store")
    return response

"""Who may ask: the bearer of a token, or without any token only this machine; and never another site's web page.

What a route needs is in its contract; an endpoint without one needs all rights. Every answer also carries the headers
that keep a browser from doing more than the page needs. No answer ever allows another origin to read it (CORS).
"""

import logging
import re
from contextlib import suppress
from functools import lru_cache
from urllib.parse import quote

from flask import Flask, Response, current_app, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from api.http.operation import Operation, Scope, operation_of
from api.http.problems import ProblemError
from api.http.rate_limit import RateLimits, client_network
from service.auth.hosts import host_names, is_loopback, normalized_name
from service.auth.tokens import Token, TokenFileError, TokenReader, TokenScope, token_file_path
from service.config.settings import RunConfig

ANONYMOUS = "anonymous"
CLIENT_KEY = "leitstand.client"
"""Where a request's WSGI environment holds the name of its token, for the access log."""
SIGN_OF_LIFE = "health.livez"
"""Whoever watches whether this process lives knows no token, comes by any name, and is never too many."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN_SITES = frozenset({"cross-site", "same-site"})

SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
TLS_HEADER = ("Strict-Transport-Security", "max-age=2592000")
"""Only over TLS, and for a month: it binds every port of this machine's name, also those of other programs."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]+)?")

logger = logging.getLogger(__name__)


def register(app: Flask, config: RunConfig) -> None:
    """Check every request of `app`. Raises `SettingError` for an API_HOSTS that holds something else than names."""
    if config.api_proxies:
        # Not X-Forwarded-Host: few proxies set it, so a page that rebinds its name could. They pass Host on.
        trusted = config.api_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=trusted, x_proto=trusted, x_host=0)  # type: ignore[method-assign]
    app.before_request(Guard(config).check)
    app.after_request(_add_headers)


def client_name() -> str:
    """Who asks, as far as it is proved: the name of the present request's token, or `anonymous`."""
    return authenticated_name() or ANONYMOUS


def authenticated_name() -> str | None:
    """The name of the token that the present request bears; None where no token is needed."""
    name = g.get("token_name")
    assert name is None or isinstance(name, str)
    return name


class Guard:
    """The checks of one server, in the order in which a request meets them; each raises `ProblemError`."""

    def __init__(self, config: RunConfig) -> None:
        self._names = host_names(config)
        self._alert_log = TokenReader(config.api_token, token_file_path(config))
        self._rates = RateLimits(config)
        self._serves = lru_cache(maxsize=256)(self._serves_name)

    def check(self) -> None:
        """Let the present request pass, or raise `ProblemError`."""
        if request.endpoint == SIGN_OF_LIFE:
            return
        self._require_own_name()
        _require_own_page()
        wanted = operation_of(current_app, request.endpoint)
        scope = _scope_of(wanted)
        address = client_network(request.remote_addr or "")
        if self._alert_log.is_required and scope is not Scope.OPEN:
            token = self._authenticate(address)
            g.token_name = request.environ[CLIENT_KEY] = token.name
            self._count(scope, wanted, f"token {token.name}")
            _require_scope(token, scope)
        else:
            self._count(scope, wanted, address)

    def _require_own_name(self) -> None:
        """A name that leads here from elsewhere (DNS rebinding) must not open the door."""
        host = request.headers.get("Host", "")
        if not self._serves(host):
            served = ", ".join(sorted(self._names)) or "127.0.0.1 and localhost"
            why = "API_HOSTS names others" if self._names else "without a token no other name is served"
            raise ProblemError("wrong-host", f"The Host header is {host!r}, but {why}: ask {served}.")

    def _serves_name(self, host: str) -> bool:
        if not self._names and self._alert_log.is_required:
            return True  # a page that rebinds its name has no token
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = normalized_name(match.group(1))
        return name in self._names if self._names else is_loopback(name)

    def _authenticate(self, address: str) -> Token:
        """The token that the request bears.

        Only a chosen token (API_TOKEN) can be weak enough to be guessed, so after too many wrong ones from an address
        it is not accepted from there for a while; those of the file still are.
        """
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            self._rates.reads.require_room(address)
            raise _unauthorized("Send a token as `Authorization: Bearer <token>`.", 'Bearer realm="leitstand"')
        wrong_tokens = self._rates.wrong_tokens
        try:
            # WSGI hands header bytes on as Latin-1.
            text = given.strip().encode("latin-1", "replace")
            token = self._alert_log.find(text, include_configured=wrong_tokens.has_room(address))
        except TokenFileError:
            raise ProblemError(
                "tokens-unavailable", "The server's file of tokens cannot be used; its log says why."
            ) from None
        if token is None:
            wrong_tokens.require_room(address)
            logger.warning("%s %s from %s: unknown or expired token", request.method, quote(request.path), address)
            raise _unauthorized(
                "The token is unknown, revoked or expired.", 'Bearer realm="leitstand", error="invalid_token"'
            )
        return token

    def _count(self, scope: Scope, wanted: Operation | None, asker: str) -> None:
        is_command = scope is Scope.CONTROL and not _is_dry_run(wanted)
        (self._rates.commands if is_command else self._rates.reads).require_room(asker)


def _scope_of(wanted: Operation | None) -> Scope:
    """What the present request needs; fails closed for a route without a contract."""
    if wanted is not None:
        return wanted.scope
    if request.endpoint is None:
        return Scope.READ  # the answer will be 404 or 405
    return Scope.OPEN if request.endpoint == "static" else Scope.CONTROL


def _is_dry_run(wanted: Operation | None) -> bool:
    flags = [] if wanted is None else [parameter for parameter in wanted.parameters if parameter.name == "dry_run"]
    with suppress(ProblemError):  # what it says is nonsense; it is counted before it is refused
        return any(flag.value() is True for flag in flags)
    return False


def _require_scope(token: Token, scope: Scope) -> None:
    if scope is Scope.CONTROL and token.scope is not TokenScope.CONTROL:
        raise ProblemError(
            "insufficient-scope",
            f"The token {token.name!r} may only read; use one made with --scope control.",
            {"WWW-Authenticate": 'Bearer realm="leitstand", error="insufficient_scope", scope="control"'},
        )


def _require_own_page() -> None:
    """Another site's page can make a browser send requests, though not read the answers.

    What changes something must come from our own page or from no page at all. What only reads is refused to foreign
    pages too, where the browser says so: they would learn nothing, but could take all event streams. Following a link
    to us is fine.
    """
    headers, is_reading = request.headers, request.method in READING
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if origin is not None and not is_reading and not _is_own(origin):
        raise ProblemError("foreign-origin", f"The request comes from {origin!r}, which is not this server's own page.")
    if site in FOREIGN_SITES and not (is_reading and _follows_link()):
        raise ProblemError("foreign-origin", f"The request comes from another web page ({site}).")


def _follows_link() -> bool:
    """Whether a browser asks to show the answer as a page of its own, neither in a frame nor to a script."""
    return (request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest")) == ("navigate", "document")


def _is_own(origin: str) -> bool:
    host = request.headers.get("Host", "").lower()
    # A proxy that speaks TLS may not tell us so; one that does rules pages without it out.
    schemes = ("https",) if request.is_secure else ("https", "http")
    return host != "" and origin.lower() in {f"{scheme}://{host}" for scheme in schemes}


def _unauthorized(detail: str, challenge: str) -> ProblemError:
    return ProblemError("unauthorized", detail, {"WWW-Authenticate": challenge})


def _add_headers(response: Response) -> Response:
    response.headers.extend(SECURITY_HEADERS)
    if request.is_secure:
        response.headers.add(*TLS_HEADER)
    response.headers.setdefault("Cache-Control", "no-store")
    return response

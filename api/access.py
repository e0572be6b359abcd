"""Who may ask: the bearer token, or without one only this machine; and never another site's web page.

Every answer also carries the headers that keep a browser from doing more than the page needs.
"""

import hmac
import re

from flask import Flask, Response, request

from api.problems import ProblemError
from service.addresses import is_loopback
from service.settings import RunConfig

OPEN_ENDPOINTS = frozenset({"health.livez", "page.index", "page.record_schema", "static"})
"""What can be asked without the token: nothing of a run is in it."""

READING = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]+)?")


def register(app: Flask, config: RunConfig) -> None:
    """Check every request of `app`; without a token only this machine may ask."""
    token = config.api_token

    @app.before_request
    def check_access() -> None:
        if request.endpoint != "health.livez" and not token:
            _require_loopback_host()
        if request.method not in READING:
            _require_own_origin()
        if token and request.endpoint not in OPEN_ENDPOINTS:
            _require_token(token)

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _require_loopback_host() -> None:
    """Without a token, a name that leads here from elsewhere (DNS rebinding) must not open the door."""
    host = request.headers.get("Host", "")
    match = _HOST.fullmatch(host)
    if match is None or not is_loopback(match.group(1)):
        raise ProblemError(
            "wrong-host", f"The Host header is {host!r}, but without API_TOKEN only 127.0.0.1 and localhost are served."
        )


def _require_own_origin() -> None:
    origin = request.headers.get("Origin")
    if origin is None:
        return
    host = request.headers.get("Host", "")
    if not host or origin.lower() not in {f"http://{host}".lower(), f"https://{host}".lower()}:
        raise ProblemError("foreign-origin", f"The request comes from {origin!r}, which is not this server's own page.")


def _require_token(token: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # WSGI hands header bytes on as Latin-1.
    is_right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise ProblemError(
            "unauthorized",
            "Send the server's API_TOKEN as `Authorization: Bearer <token>`.",
            {"WWW-Authenticate": 'Bearer realm="leitstand"'},
        )

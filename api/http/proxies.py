"""What trusted proxies say of a request: the client's address, the scheme, and the path prefix that they took off.

A proxy that serves this server below a path, as `/leitstand/`, takes that prefix off and names it in
`X-Forwarded-Prefix`. Every path that a response contains then begins with it. Nothing else depends on it: the pages
link relatively, so that they also work behind a proxy that names no prefix.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+;=:@-]|%[0-9A-Fa-f]{2})+)+")
"""A path without empty segments: `//host` would lead to another server."""


def register(app: Flask, proxies: int) -> None:
    """Make `app` believe the X-Forwarded headers of as many `proxies`; of none, 0."""
    app.after_request(_redirect_relatively)
    if proxies:
        # X-Forwarded-Host is ignored: few proxies set it, so a DNS-rebinding page could. Proxies forward Host.
        below_prefix = _PrefixedApplication(app.wsgi_app, proxies)
        app.wsgi_app = ProxyFix(below_prefix, x_for=proxies, x_proto=proxies, x_host=0)  # type: ignore[method-assign]


def external_path(path: str) -> str:
    """Return a path of this server as clients know it: with the prefix that trusted proxies took off."""
    return request.script_root + path


class _PrefixedApplication:
    """Application whose `SCRIPT_NAME` is the prefix that the last `proxies` took off, the outermost first."""

    def __init__(self, application: "WSGIApplication", proxies: int) -> None:
        self._application = application
        self._proxies = proxies

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        trusted = environ.get("HTTP_X_FORWARDED_PREFIX", "").split(",")[-self._proxies :]
        prefix = "".join(part.strip().rstrip("/") for part in trusted)
        if prefix and _PREFIX.fullmatch(prefix):
            environ["SCRIPT_NAME"] = prefix
        return self._application(environ, start_response)


def _redirect_relatively(response: Response) -> Response:
    """Let Werkzeug's redirect to a path with a slash at its end keep whatever prefix the client used."""
    if response.status_code == 308:
        query = request.query_string.decode("latin-1")
        last_segment = quote(request.path.rpartition("/")[2])
        response.headers["Location"] = f"./{last_segment}/{'?' if query else ''}{query}"
        response.data = b""  # a page with the address that the proxy sees
    return response

"""gunicorn's threaded worker, changed so that a thread is used only once a request has been received completely.

gunicorn's own worker (`gthread`) gives every connection to a thread, which then waits without limit for the rest of the
request: as many incomplete requests as there are threads block the server. It also closes connections on the thread
that accepts new ones, and waits there up to 2 s for the client. Here that thread receives the requests of all
connections concurrently, head and body, and never blocks.
"""

import errno
import json
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from io import BytesIO
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from api.http.problem_types import PROBLEMS
from api.server.request_buffer import (
    MAX_BODY_BYTES,
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_REQUEST_LINE_BYTES,
    RequestBuffer,
)

REQUEST_SECONDS = 10.0
"""Time limit for receiving a request, also for the first byte on a new connection."""
SEND_BUFFER_BYTES = 512 * 1024
"""Send buffer in the kernel: larger than any response that needs no token, so that a client which reads byte by byte
occupies no thread. Linux usually grants about 400 KiB of it (net.core.wmem_max)."""
STALL_SECONDS = 30
"""How long sending a response may wait for the client to receive some of it."""
LINGER_SECONDS = 2.0
"""How long a closed connection is still read, so that a reset does not destroy the response before it."""
MAX_ARRIVING = 200
"""Limit for requests being received; above it, the oldest is dropped."""
MAX_LINGERING = 100
CHUNK_BYTES = 64 * 1024
MAX_REASON_CHARACTERS = 200
"""Limit for the part of a request that is quoted in an error message."""

DETAILS = {
    "request-timeout": f"The request did not arrive as a whole within {REQUEST_SECONDS:.0f} s.",
    "body-too-large": f"The body is larger than {MAX_BODY_BYTES} bytes.",
    "head-too-large": f"The head is larger than {MAX_HEAD_BYTES} bytes, or has a header larger than "
    f"{MAX_FIELD_BYTES}, or more than {MAX_FIELDS} of them.",
    "uri-too-long": f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes; ask for less at a time.",
    "internal-error": "The server met a defect; its log holds the details.",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONNECTION_ERRORS = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED}
DESCRIPTOR_LIMIT_ERRORS = {errno.EMFILE, errno.ENFILE}


class ClientConnection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """Connection of one client; `linger` closes its socket without blocking."""

    def __init__(self, linger: Callable[[socket.socket], None], *others: Any) -> None:
        super().__init__(*others)
        self._linger = linger

    def close(self, graceful: bool = False) -> None:
        """Close the connection; `graceful` lets a response that was sent before still arrive."""
        if graceful:
            self._linger(self.sock)
        else:
            super().close()


@dataclass(eq=False)
class PendingRequest:
    """Connection whose request is being received."""

    conn: ClientConnection
    deadline: float
    request: RequestBuffer = field(default_factory=RequestBuffer)
    is_registered: bool = False


class BufferedRequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Worker that buffers requests. All methods except `handle_request` and `handle_error` run on the main thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_keepalived: int = max(0, self.cfg.worker_connections - self.cfg.threads - MAX_ARRIVING)
        self._arriving: OrderedDict[PendingRequest, None] = OrderedDict()
        self._lingering: OrderedDict[socket.socket, float] = OrderedDict()

    def accept(self, listener: socket.socket) -> None:
        """Accept a new connection."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in DESCRIPTOR_LIMIT_ERRORS:
                self._limit_arriving(max(0, len(self._arriving) - 1))
            elif error.errno not in NO_CONNECTION_ERRORS:
                raise
            return
        self.nr_conns += 1
        with suppress(OSError):  # the client may have disconnected already
            set_socket_timeouts(sock)
        self.enqueue_req(ClientConnection(self._linger, self.cfg, sock, address, listener.getsockname()))

    def enqueue_req(self, conn: ClientConnection) -> None:
        """Receive the next request of a connection; passes it to a thread once it is complete."""
        pending = PendingRequest(conn, time.monotonic() + REQUEST_SECONDS)
        conn.sock.setblocking(False)
        if conn.parser is not None:  # bytes received after the previous request
            pending.request.add(conn.parser.unreader.take_buffered())
        self._limit_arriving(MAX_ARRIVING - 1)
        self._arriving[pending] = None
        self._receive(pending)

    def murder_pending(self) -> None:
        """Close connections past their deadline; if the server is stopping, also those without any byte received."""
        now = time.monotonic()
        while self._lingering and next(iter(self._lingering.values())) <= now:
            self._end_lingering(next(iter(self._lingering)))
        while self._arriving and (oldest := next(iter(self._arriving))).deadline <= now:
            self._drop(oldest, "request-timeout" if oldest.request.data else None)
        if not self.alive:
            for pending in [pending for pending in self._arriving if not pending.request.data]:
                self._drop(pending)

    def handle_request(self, req: Any, conn: ClientConnection) -> bool:
        """Answer a request, in a thread; a stalled client is treated as disconnected."""
        # Reads the complete body here, so that a malformed one is rejected before the application runs.
        req.body = BytesIO(req.body.read())
        try:
            return bool(super().handle_request(req, conn))
        except (BlockingIOError, TimeoutError):
            raise ConnectionResetError(errno.ECONNRESET, "the client stalled") from None

    def handle_error(self, _req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer, in a thread, a request that gunicorn's parser rejects or the application failed to answer."""
        slug = problem_slug_for(exc)
        if slug == "internal-error":
            self.log.error("Error handling a request", exc_info=exc)
        else:  # any client can cause this at will, so it is no warning, and no part of the request is logged
            self.log.info("Unreadable request from %s: %s", addr[0] if addr else "a socket", type(exc).__name__)
        reason = str(exc)[:MAX_REASON_CHARACTERS]
        detail = DETAILS.get(slug) or f"The request cannot be read ({reason}); send it as RFC 9112 has it."
        _send(client, problem_bytes(slug, detail))

    def _receive(self, pending: PendingRequest, _file: Any = None) -> None:
        """Read the available bytes; dispatches the request if it is complete, drops it if it is rejected."""
        if pending not in self._arriving:
            return  # dropped in the same iteration of the event loop, to make room for another
        request, is_open = pending.request, True
        try:
            while is_open and not request.is_settled:
                chunk = pending.conn.sock.recv(CHUNK_BYTES)
                request.add(chunk)
                is_open = chunk != b""
        except BlockingIOError:
            self._await_more(pending)
        except OSError:
            self._drop(pending)
        else:
            if request.is_complete:
                self._dispatch(pending)
            else:
                self._drop(pending, request.problem)

    def _await_more(self, pending: PendingRequest) -> None:
        if pending.request.awaits_continue:
            pending.request.awaits_continue = False
            _send(pending.conn.sock, CONTINUE)
        if not pending.is_registered:
            pending.is_registered = True
            self.poller.register(pending.conn.sock, EVENT_READ, partial(self._receive, pending))

    def _dispatch(self, pending: PendingRequest) -> None:
        self._remove(pending)
        conn = pending.conn
        conn.init()
        conn.parser.unreader.unread(bytes(pending.request.data))
        super().enqueue_req(conn)

    def _drop(self, pending: PendingRequest, problem: str | None = None) -> None:
        """Close a connection before its request is complete; with `problem`, the client receives it first."""
        self._remove(pending)
        self.nr_conns -= 1
        if problem is not None:
            _send(pending.conn.sock, problem_bytes(problem, DETAILS[problem]))
        pending.conn.close(graceful=problem is not None)

    def _remove(self, pending: PendingRequest) -> None:
        del self._arriving[pending]
        if pending.is_registered:
            self.poller.unregister(pending.conn.sock)

    def _limit_arriving(self, maximum: int) -> None:
        """Drop the oldest requests above `maximum`: an honest request is received within milliseconds."""
        while len(self._arriving) > maximum:
            self._drop(next(iter(self._arriving)))

    def _linger(self, sock: socket.socket) -> None:
        """Shut down sending, and discard received bytes for LINGER_SECONDS before closing."""
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
            self.poller.register(sock, EVENT_READ, self._drain)
        except (OSError, ValueError):
            sock.close()
            return
        self._lingering[sock] = time.monotonic() + LINGER_SECONDS
        while len(self._lingering) > MAX_LINGERING:
            self._end_lingering(next(iter(self._lingering)))

    def _drain(self, sock: socket.socket) -> None:
        if sock not in self._lingering:
            return
        try:
            is_closed = sock.recv(CHUNK_BYTES) == b""
        except BlockingIOError:
            is_closed = False
        except OSError:
            is_closed = True
        if is_closed:
            self._end_lingering(sock)

    def _end_lingering(self, sock: socket.socket) -> None:
        del self._lingering[sock]
        self.poller.unregister(sock)
        sock.close()


def problem_slug_for(error: Exception) -> str:
    """Return the slug of the problem for a request that could not be answered because of `error`."""
    if isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
        return "internal-error"  # subclasses of gunicorn's parse errors, but not the client's fault
    if isinstance(error, errors.LimitRequestLine):
        return "uri-too-long"
    if isinstance(error, errors.LimitRequestHeaders):
        return "head-too-large"
    return "bad-request" if isinstance(error, errors.ParseException) else "internal-error"


def problem_bytes(slug: str, detail: str) -> bytes:
    """Encode the complete response to a request that the application never sees, as problem+json like all others."""
    problem_type = PROBLEMS[slug]
    problem = {
        "type": f"/problems/{slug}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": detail,
    }
    body = json.dumps(problem) + "\n"
    lines = (
        f"HTTP/1.1 {problem_type.status} {HTTPStatus(problem_type.status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def set_socket_timeouts(sock: socket.socket) -> None:
    """Set send and receive timeouts, so that no thread waits longer than STALL_SECONDS for this client.

    gunicorn has no setting for this.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    timeout = struct.pack("ll", STALL_SECONDS, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: also for a client lost without a FIN, during an event stream
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * STALL_SECONDS)


def _send(sock: socket.socket, content: bytes) -> None:
    """Send a few bytes if they fit into the send buffer; ignores errors."""
    with suppress(OSError):
        sock.send(content)

"""gunicorn's worker of threads, with threads only for requests that are here as a whole.

gunicorn's own (`gthread`) gives every connection to a thread, which then waits for the rest of the request without
limit: as many half requests as there are threads silence the server. It also closes connections on the thread that
accepts new ones, and waits there up to 2 s for the other side. Here that thread gathers the requests of all
connections at once, head and body, and waits for nobody.
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

from api.http.problems import PROBLEMS
from api.server.request_buffer import (
    MAX_BODY_BYTES,
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_REQUEST_LINE_BYTES,
    RequestBuffer,
)

REQUEST_SECONDS = 10.0
"""How long a request may take to arrive, and a new connection to begin one."""
SEND_BUFFER_BYTES = 512 * 1024
"""What the kernel takes at once: more than any answer that needs no token, so that a client who reads it byte by byte
holds no thread. Linux usually gives about 400 KiB of it (net.core.wmem_max)."""
STALLED_SECONDS = 30
"""How long an answer may wait for the other side to take some of it."""
LINGER_SECONDS = 2.0
"""How long a closed connection is still read, so that the answer before is not lost to a reset."""
MAX_ARRIVING = 200
"""Requests on their way at a time; one more, and the oldest is dropped."""
MAX_LINGERING = 100
PIECE_BYTES = 64 * 1024
MAX_REASON_CHARACTERS = 200
"""Of a request that is repeated in the sentence that refuses it."""

DETAILS = {
    "request-timeout": f"The request did not arrive as a whole within {REQUEST_SECONDS:.0f} s.",
    "body-too-large": f"The body is larger than {MAX_BODY_BYTES} bytes.",
    "head-too-large": f"The head is larger than {MAX_HEAD_BYTES} bytes, or has a header larger than "
    f"{MAX_FIELD_BYTES}, or more than {MAX_FIELDS} of them.",
    "uri-too-long": f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes; ask for less at a time.",
    "internal-error": "The server met a defect; its log holds the details.",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NOBODY_THERE = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED}
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


class ClientConnection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """One client's connection; `linger` closes its socket without waiting."""

    def __init__(self, linger: Callable[[socket.socket], None], *others: Any) -> None:
        super().__init__(*others)
        self._linger = linger

    def close(self, graceful: bool = False) -> None:
        """Close; when an answer went before, so that it still arrives."""
        if graceful:
            self._linger(self.sock)
        else:
            super().close()


@dataclass(eq=False)
class PendingRequest:
    """A connection whose request is on its way."""

    conn: ClientConnection
    deadline: float
    request: RequestBuffer = field(default_factory=RequestBuffer)
    is_watched: bool = False


class BufferedRequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """What differs from gunicorn's worker; all of it but `handle_request` runs on the main thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_keepalived: int = max(0, self.cfg.worker_connections - self.cfg.threads - MAX_ARRIVING)
        self._arriving: OrderedDict[PendingRequest, None] = OrderedDict()
        self._lingering: OrderedDict[socket.socket, float] = OrderedDict()

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                self._make_room(max(0, len(self._arriving) - 1))
            elif error.errno not in NOBODY_THERE:
                raise
            return
        self.nr_conns += 1
        with suppress(OSError):  # it may have left already
            limit_waiting(sock)
        self.enqueue_req(ClientConnection(self._linger, self.cfg, sock, address, listener.getsockname()))

    def enqueue_req(self, conn: ClientConnection) -> None:
        """Gather the next request of a connection, and give it to a thread once it is whole."""
        pending = PendingRequest(conn, time.monotonic() + REQUEST_SECONDS)
        conn.sock.setblocking(False)
        if conn.parser is not None:  # what came behind the request before
            pending.request.add(conn.parser.unreader.take_buffered())
        self._make_room(MAX_ARRIVING - 1)
        self._arriving[pending] = None
        self._gather(pending)

    def murder_pending(self) -> None:
        """End what takes too long; when the server is to stop, also what has not begun."""
        now = time.monotonic()
        while self._lingering and next(iter(self._lingering.values())) <= now:
            self._end_lingering(next(iter(self._lingering)))
        while self._arriving and (oldest := next(iter(self._arriving))).deadline <= now:
            self._drop(oldest, "request-timeout" if oldest.request.data else None)
        if not self.alive:
            for pending in [pending for pending in self._arriving if not pending.request.data]:
                self._drop(pending)

    def handle_request(self, req: Any, conn: ClientConnection) -> bool:
        """Answer, in a thread; a client that stalls counts as one that is gone."""
        # All of it is here; if it is not what it says it is, that is refused before the application begins.
        req.body = BytesIO(req.body.read())
        try:
            return bool(super().handle_request(req, conn))
        except (BlockingIOError, TimeoutError):
            raise ConnectionResetError(errno.ECONNRESET, "the client stalled") from None

    def handle_error(self, _req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer, in a thread, what gunicorn's parser refuses, and what the application leaves without an answer."""
        slug = slug_of(exc)
        if slug == "internal-error":
            self.log.error("Error handling a request", exc_info=exc)
        else:  # as often as anybody likes, so it is no warning; and parts of a request do not belong into a log
            self.log.info("Unreadable request from %s: %s", addr[0] if addr else "a socket", type(exc).__name__)
        reason = str(exc)[:MAX_REASON_CHARACTERS]
        detail = DETAILS.get(slug) or f"The request cannot be read ({reason}); send it as RFC 9112 has it."
        _send(client, refusal_bytes(slug, detail))

    def _gather(self, pending: PendingRequest, _file: Any = None) -> None:
        """Read what is there, and see whether that was all."""
        if pending not in self._arriving:
            return  # dropped for another whose event came in the same turn
        request, is_open = pending.request, True
        try:
            while is_open and not request.is_settled:
                piece = pending.conn.sock.recv(PIECE_BYTES)
                request.add(piece)
                is_open = piece != b""
        except BlockingIOError:
            self._wait(pending)
        except OSError:
            self._drop(pending)
        else:
            if request.is_whole:
                self._hand_over(pending)
            else:
                self._drop(pending, request.refusal)

    def _wait(self, pending: PendingRequest) -> None:
        if pending.request.awaits_continue:
            pending.request.awaits_continue = False
            _send(pending.conn.sock, CONTINUE)
        if not pending.is_watched:
            pending.is_watched = True
            self.poller.register(pending.conn.sock, EVENT_READ, partial(self._gather, pending))

    def _hand_over(self, pending: PendingRequest) -> None:
        self._forget(pending)
        conn = pending.conn
        conn.init()
        conn.parser.unreader.unread(bytes(pending.request.data))
        super().enqueue_req(conn)

    def _drop(self, pending: PendingRequest, refusal: str | None = None) -> None:
        """End a connection before its request was whole; the other side is told why if there is a reason."""
        self._forget(pending)
        self.nr_conns -= 1
        if refusal is not None:
            _send(pending.conn.sock, refusal_bytes(refusal, DETAILS[refusal]))
        pending.conn.close(graceful=refusal is not None)

    def _forget(self, pending: PendingRequest) -> None:
        del self._arriving[pending]
        if pending.is_watched:
            self.poller.unregister(pending.conn.sock)

    def _make_room(self, most: int) -> None:
        """Drop the oldest until at most so many requests are on their way: a whole one takes milliseconds to come."""
        while len(self._arriving) > most:
            self._drop(next(iter(self._arriving)))

    def _linger(self, sock: socket.socket) -> None:
        """Say that nothing more will be sent, and throw away what still comes, for a while."""
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
            self.poller.register(sock, EVENT_READ, self._discard)
        except (OSError, ValueError):
            sock.close()
            return
        self._lingering[sock] = time.monotonic() + LINGER_SECONDS
        while len(self._lingering) > MAX_LINGERING:
            self._end_lingering(next(iter(self._lingering)))

    def _discard(self, sock: socket.socket) -> None:
        if sock not in self._lingering:
            return
        try:
            is_over = sock.recv(PIECE_BYTES) == b""
        except BlockingIOError:
            is_over = False
        except OSError:
            is_over = True
        if is_over:
            self._end_lingering(sock)

    def _end_lingering(self, sock: socket.socket) -> None:
        del self._lingering[sock]
        self.poller.unregister(sock)
        sock.close()


def slug_of(error: Exception) -> str:
    """What to call a request that could not be answered."""
    if isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
        return "internal-error"  # in gunicorn's book they are also what a client can do wrong
    if isinstance(error, errors.LimitRequestLine):
        return "uri-too-long"
    if isinstance(error, errors.LimitRequestHeaders):
        return "head-too-large"
    return "bad-request" if isinstance(error, errors.ParseException) else "internal-error"


def refusal_bytes(slug: str, detail: str) -> bytes:
    """The whole answer to a request that the application never sees, in the shape of all others."""
    kind = PROBLEMS[slug]
    problem = {"type": f"/problems/{slug}", "title": kind.title, "status": kind.status, "detail": detail}
    body = json.dumps(problem) + "\n"
    lines = (
        f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def limit_waiting(sock: socket.socket) -> None:
    """Let the kernel end every wait of a thread for this client, which no setting of gunicorn does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    pause = struct.pack("ll", STALLED_SECONDS, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pause)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pause)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: also for one that is gone without a word, under an event stream
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * STALLED_SECONDS)


def _send(sock: socket.socket, content: bytes) -> None:
    """Send a few bytes if they fit; who does not take them has had the chance."""
    with suppress(OSError):
        sock.send(content)

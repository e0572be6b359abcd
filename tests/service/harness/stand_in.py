"""A small real HTTP server that speaks the API's dialect, with answers that a test chooses."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer; bytes are sent as they are, anything else as JSON. A header that is empty is left out."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def problem(status: int, detail: str, slug: str = "test", **headers: str) -> Answer:
    """A refusal as the API words it; `Retry_After="2"` is a header."""
    body = {"type": f"/problems/{slug}", "title": "No", "status": status, "detail": detail, "instance": "/"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(body, status, {"Content-Type": "application/problem+json", **named})


def page(name: str, entries: Sequence[Any], next_cursor: str | None = None, **values: Any) -> Answer:
    """A page of a list."""
    return Answer({name: list(entries), "next_cursor": next_cursor, **values})


def command(state: str = "queued", **values: Any) -> dict[str, Any]:
    """A command as the API shows it."""
    return {
        "id": "c0ffee", "run_id": "run-1", "kind": "validate", "state": state, "actor": "eva", "source": "cli",
        "created_at": 1.0, "apply_at_step": None, "expires_at": None, "started_at": None, "finished_at": None,
        "step": None, "arguments": {}, "result": None, "reason": None, **values,
    }  # fmt: skip


Reaction = Answer | Callable[[Request], Answer]


class StandIn:
    """Answers by (method, path without query); the last of several answers is repeated.

    A function gives its answer by the request.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[tuple[str, str], list[Reaction]] = {}
        self.url = ""

    def on(self, method: str, path: str, *answers: Reaction) -> None:
        self._answers[method, path] = list(answers)

    @property
    def targets(self) -> list[str]:
        """The paths with queries that were asked for, in order."""
        return [request.target for request in self.requests]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        queue = self._answers.get((request.method, request.target.partition("?")[0]))
        if queue is None:
            return problem(404, f"There is no {request.target}.")
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        return answer(request) if callable(answer) else answer


@contextmanager
def serving(stand_in: StandIn, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on loopback for the time of the context; yields the URL."""
    with ThreadingHTTPServer(("127.0.0.1", port), _handler(stand_in.answer)) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            stand_in.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
            yield stand_in.url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def slamming_server(react: Callable[[socket.socket], object]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that lets `react` deal with each connection and then closes it; yields URL and what was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked: list[bytes] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096))
                    react(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _handler(answer: Callable[[Request], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = answer(Request(self.command, self.path, dict(self.headers), body))
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815 - the names that http.server calls

        def log_message(self, *_arguments: Any) -> None:
            """Stay quiet."""

    return Handler

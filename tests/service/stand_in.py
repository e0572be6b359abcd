"""A small real HTTP server that speaks the API's dialect, with answers that a test chooses."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer; a mapping is sent as JSON, bytes as they are."""

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


def problem(status: int, detail: str) -> Answer:
    """A refusal as the API words it."""
    body = {"type": "/problems/test", "title": "No", "status": status, "detail": detail, "instance": "/"}
    return Answer(body, status, {"Content-Type": "application/problem+json"})


def command(state: str = "queued", **values: Any) -> dict[str, Any]:
    """A command as the API shows it."""
    return {
        "id": "c0ffee", "run_id": "run-1", "kind": "validate", "state": state, "actor": "eva", "source": "cli",
        "created_at": 1.0, "apply_at_step": None, "expires_at": None, "started_at": None, "finished_at": None,
        "step": None, "arguments": {}, "result": None, "reason": None, **values,
    }  # fmt: skip


class StandIn:
    """Answers by (method, path without query); the last of several answers is repeated."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self.url = ""

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self._answers[method, path] = list(answers)

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        queue = self._answers.get((request.method, request.target.partition("?")[0]))
        if queue is None:
            return problem(404, f"There is no {request.target}.")
        return queue.pop(0) if len(queue) > 1 else queue[0]


@contextmanager
def serving(stand_in: StandIn, port: int = 0) -> Iterator[str]:
    """Serve on loopback for the time of the context; yields the URL."""
    with ThreadingHTTPServer(("127.0.0.1", port), _handler(stand_in.answer)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            stand_in.url = f"http://127.0.0.1:{server.server_port}"
            yield stand_in.url
        finally:
            server.shutdown()
            thread.join()


def _handler(answer: Callable[[Request], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = answer(Request(self.command, self.path, dict(self.headers), body))
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815 - the names that http.server calls

        def log_message(self, *_arguments: Any) -> None:
            """Stay quiet."""

    return Handler

"""An API and a PostgreSQL server on machines of their own, and what a person on the API's machine sees by curl."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.store.store import Store
from tests.deploy.hosts.machines import Machine
from tests.deploy.hosts.training import LEITSTAND
from tests.postgres import PostgresService, postgres_service

PORT = 5050
ANSWER_SECONDS, LONGEST_SECONDS = 10, 30
LOOKS = (
    "/state", "/ranks", "/alerts", "/settings", "/commands", "/event-log", "/series?points=10", "/statistics",
    "/statistics/latest", "/statistics?format=csv", "/checkpoints", "/previews", "/logs?tail=5", "/metrics", "/runs",
)  # fmt: skip
"""What is asked of a run whose folder the API does not see."""


class FarApi:
    """The API's machine; a run of the store is its default run, since it has no folder of any."""

    def __init__(self, machine: Machine, database: Machine, server: PostgresService, folder: Path) -> None:
        """Make a database, and start `leitstand serve` beside nothing but its address."""
        self.machine, self.database = machine, database
        name = server.new_database().rpartition("/")[2]
        self.store_url, self.store = server.url(name), Store(server.own_url(name), create=True)
        self._folder = folder / "api"
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        environment = {
            **os.environ, "STORE_URL": self.store_url, "DATA_ROOT": str(self._folder / "no-run"),
            "API_PORT": str(PORT), "API_READS_PER_MINUTE": "100000",
        }  # fmt: skip
        with (self._folder / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(
                self.machine.command(*LEITSTAND, "serve"), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment,
            )  # fmt: skip

    def curl(self, path: str, *options: str, seconds: float = ANSWER_SECONDS) -> tuple[int, str]:
        """Status and body of an answer as curl on the API's machine has it; status 0 without one."""
        asked = ["curl", "-s", "-m", str(seconds), "-w", "\n%{http_code}", *options, f"http://127.0.0.1:{PORT}{path}"]
        said = subprocess.run(self.machine.command(*asked), capture_output=True, text=True, check=False).stdout
        body, _, status = said.rpartition("\n")
        return int(status or 0), body

    def state(self) -> str:
        """The run's state as the API tells it, or why it does not, and how long that took if it was long."""
        began = time.monotonic()
        status, body = self.curl("/state", seconds=LONGEST_SECONDS)
        took = time.monotonic() - began
        late = f" (after {took:.0f} s)" if took > ANSWER_SECONDS / 5 else ""
        if status == 0:
            return f"no answer{late}"
        answer = json.loads(body)
        return f"{answer['run_state'] if status == 200 else status}{late}"

    def command(self, name: str) -> dict[str, Any]:
        """Give a command by curl, and wait for its end at most as long as an answer may take."""
        status, body = self.curl(f"/{name}?wait={ANSWER_SECONDS - 1}", "-X", "POST")
        answer: dict[str, Any] = json.loads(body) if status else {"state": "no answer"}
        return answer

    def looks(self) -> Iterator[tuple[str, int, str]]:
        """What the API answers of the run: path, status, and the length of the answer or why there is none."""
        for path in LOOKS:
            status, body = self.curl(path)
            reason = json.loads(body).get("detail", "") if status >= 400 else f"{len(body)} characters"
            yield path, status, reason

    def events(self, seconds: float) -> list[str]:
        """The kinds of the events that its stream tells within some seconds."""
        _, body = self.curl("/events", "-N", seconds=seconds)
        return [line.removeprefix("event: ") for line in body.splitlines() if line.startswith("event: ")]

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            with self._process as process:
                process.kill()
        self.store.close()


@contextmanager
def far_api(machine: Machine, database: Machine, folder: Path) -> Iterator[FarApi]:
    """Serve on one machine what trainers report to PostgreSQL on another."""
    with postgres_service(database.address, lambda command: database.command(*command)) as server:
        api = FarApi(machine, database, server, folder)
        try:
            api.start()
            yield api
        finally:
            api.close()

"""What a person writes in ten lines, and types on another machine: client and command line against a real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.auth.tokens import TokenScope, create_token
from service.client.client import ApiError, Client
from service.commands import CommandState
from service.config.loader import NAMES
from service.config.settings import RENAMED
from service.store.store import Store
from tests.api.harness.example_run import RECORD_STEPS, RUN_ID
from tests.api.harness.serving import Server, serving
from tests.e2e.obedient import obeying

Eventually = Callable[..., None]

SCRIPT = """
import sys
from pathlib import Path
from service.client import Client

with Client(sys.argv[1], sys.argv[2], actor="script") as client:
    assert client.state()["run_state"] == "running"
    command = client.carry_out("validate", timeout_seconds=60)
    assert command["state"] == "done", command["reason"]
    record = client.record(command["result"]["record"])
    client.change_settings({"LR_SCALE": 0.5})
    best = max(client.records(), key=lambda entry: entry["quality_ki_value"])
    print(record["step_current"], client.download(best["name"], Path(sys.argv[3])))
"""


class ControlRoom:
    """A served run that obeys, and a token for each scope."""

    def __init__(self, server: Server, root: Path, store: Store, tokens: dict[str, str]) -> None:
        self.server = server
        self.root = root
        self.store = store
        self.tokens = tokens

    def client(self, scope: str = "control") -> Client:
        return Client(self.server.url, self.tokens[scope], actor="eva")

    def run_cli(self, line: str, scope: str | None = "control") -> "subprocess.CompletedProcess[str]":
        """`leitstand …` as on another machine: it knows the address and a token, and nothing else."""
        return subprocess.run(
            [Path(sys.executable).with_name("leitstand"), *line.split()], capture_output=True, text=True, timeout=120,
            env=self.environment(scope), cwd=self.root.parent, check=False,
        )  # fmt: skip

    def environment(self, scope: str | None) -> dict[str, str]:
        token = {} if scope is None else {"LEITSTAND_TOKEN": self.tokens[scope]}
        return {**bare_environment(), "LEITSTAND_URL": self.server.url, **token}


def bare_environment() -> dict[str, str]:
    foreign = {*NAMES, *RENAMED}
    return {key: text for key, text in os.environ.items() if key not in foreign and not key.startswith("LEITSTAND_")}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlRoom]:
    folder = tmp_path_factory.mktemp("scripted")
    file = folder / "tokens.json"
    tokens = {scope.value: create_token(file, scope.value, scope) for scope in TokenScope}
    with obeying(folder / "run") as store, serving(folder / "run", API_TOKENS=str(file)) as server:
        yield ControlRoom(server, folder / "run", store, tokens)


def test_ten_lines_of_python_validate_change_a_setting_and_fetch_the_best_record(
    room: ControlRoom, tmp_path: Path
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, room.server.url, room.tokens["control"], tmp_path],
        capture_output=True, text=True, timeout=120, env=bare_environment(), check=False,
    )  # fmt: skip

    assert answer.returncode == 0, answer.stderr
    step, path = answer.stdout.split()
    assert (room.root / f"Statistik_{step}.json").exists()
    assert Path(path).read_bytes() == (room.root / Path(path).name).read_bytes()
    asked = {(command.kind.value, command.actor) for command in room.store.commands.find(RUN_ID)}
    assert {(kind, "script (control)@127.0.0.1") for kind in ("validate", "set")} <= asked


def test_the_command_line_looks_with_a_token_that_may_read(room: ControlRoom) -> None:
    for line in (
        "state", "runs", "ranks", "settings", "commands", "alerts", "checkpoints", "stats list", "stats show",
        f"stats compare {RUN_ID} --step latest", "series total_loss_value", "series total_loss_value --points 10",
    ):  # fmt: skip
        plain, as_json = room.run_cli(line, "read"), room.run_cli(f"{line} --json", "read")

        assert (plain.returncode, plain.stderr) == (0, ""), line
        assert plain.stdout.strip(), line
        assert (as_json.returncode, as_json.stderr) == (0, ""), line
        assert isinstance(json.loads(as_json.stdout), dict), line


def test_a_token_that_may_read_cannot_steer(room: ControlRoom) -> None:
    before = len(room.store.commands.find(RUN_ID))
    for line in ("validate", "stop --dry-run", "set LR_SCALE=1", "rollback best", "cancel c0ffee"):
        answer = room.run_cli(line, "read")

        assert (answer.returncode, answer.stdout) == (2, ""), line
        assert answer.stderr.startswith("Error: "), line
        assert answer.stderr.count("\n") == 1, line
    refused = json.loads(room.run_cli("validate --json", "read").stderr)
    assert (refused["status"], refused["exit_code"]) == (403, 2)
    assert len(room.store.commands.find(RUN_ID)) == before


def test_without_a_token_nothing_is_shown(room: ControlRoom) -> None:
    answer = room.run_cli("state", None)

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "oken" in answer.stderr


def test_the_command_line_steers_and_waits(room: ControlRoom) -> None:
    done = room.run_cli("validate --wait --json")
    assert done.returncode == 0, done.stderr
    command = json.loads(done.stdout)
    assert (command["state"], command["source"]) == ("done", "cli")

    later = json.loads(room.run_cli("checkpoint --at 19000 --json").stdout)
    assert later["state"] == "queued"
    assert room.run_cli(f"cancel {later['id']}").stdout == "checkpoint cancelled\n"
    assert room.run_cli(f"cancel {later['id']}").returncode == 0, "what is wanted is so already"
    listed = json.loads(room.run_cli("commands --kind checkpoint --state cancelled --json").stdout)
    assert later["id"] in [entry["id"] for entry in listed["commands"]]


def test_a_key_makes_one_command_of_two_calls(room: ControlRoom) -> None:
    first, second = (json.loads(room.run_cli("checkpoint --key tonight --json").stdout) for _ in range(2))
    other = room.run_cli("checkpoint --key tonight --at 19000 --json")

    assert first["id"] == second["id"]
    assert other.returncode == 2
    assert json.loads(other.stderr)["slug"] == "key-reused"


def test_tables_end_quietly_when_nobody_reads_on(room: ControlRoom) -> None:
    leitstand = Path(sys.executable).with_name("leitstand")
    answer = subprocess.run(
        ["bash", "-c", f"{leitstand} stats csv | head -n 1 | cut -d, -f1"],
        capture_output=True, text=True, timeout=120, env=room.environment("read"), check=True,
    )  # fmt: skip

    assert (answer.stdout, answer.stderr) == ("step_current\n", "")


def test_all_records_come_as_one_table(room: ControlRoom, tmp_path: Path) -> None:
    with room.client("read") as client:
        client.save_export("jsonl", tmp_path / "all.jsonl")
        count = client.statistics()["count"]

    records = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert len(records) == count
    assert {record["step_current"] for record in records} >= set(RECORD_STEPS)


def test_a_run_can_be_named(room: ControlRoom) -> None:
    assert room.run_cli(f"state --run {RUN_ID}", "read").returncode == 0
    absent = room.run_cli("state --run nowhere --json", "read")
    assert (absent.returncode, json.loads(absent.stderr)["status"]) == (2, 404)


def test_events_are_lines_until_ctrl_c(room: ControlRoom, eventually: Eventually, tmp_path: Path) -> None:
    lines = tmp_path / "events.jsonl"

    def kinds() -> set[str]:
        complete = lines.read_text().rpartition("\n")[0]
        return {json.loads(line)["kind"] for line in complete.splitlines()}

    def is_followed() -> bool:
        with room.client() as client:
            client.carry_out("validate", timeout_seconds=60)
        return kinds() == {"command", "record"}

    with lines.open("w") as file, subprocess.Popen(
        [Path(sys.executable).with_name("leitstand"), "events", "--kinds", "command,record", "--json"],
        env=room.environment("read"), stdout=file, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            eventually(is_followed, seconds=60, what="an event of each kind")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr is not None
            assert process.stderr.read().strip() == ""
        finally:
            process.kill()


def test_events_go_on_where_they_were_after_the_api_was_started_again(room: ControlRoom) -> None:
    with serving(room.root) as server:
        client = Client(server.url)
        events = client.events(["state", "record"])
        assert next(events).kind == "state"  # from here on nothing is missed
        found = (event for event in events if event.kind == "record")
        with room.client() as other:
            other.carry_out("validate", timeout_seconds=60)
        first = next(found)
    with room.client() as other:
        missed = other.carry_out("validate", timeout_seconds=60)["result"]
    with serving(room.root, at_port=server.port):
        second = next(found)
        client.close()

    assert first.kind == second.kind == "record"
    assert missed is not None
    assert second.data["name"] == missed["record"], "it was written while nobody served the stream"


@contextmanager
def losing_answers(port: int, answers_to_lose: int) -> Iterator[str]:
    """A way to the server on which the first answers are lost after the server has acted; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            left = answers_to_lose
            while not ended.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                with peer, socket.create_connection(("127.0.0.1", port)) as server:
                    peer.settimeout(20)
                    server.sendall(peer.recv(65536))
                    answer = server.recv(65536)
                    if left > 0:
                        left -= 1
                    else:
                        peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def test_a_command_whose_answer_was_lost_twice_is_given_once(room: ControlRoom) -> None:
    before = room.store.commands.find(RUN_ID)
    with losing_answers(room.server.port, 2) as url, Client(url, room.tokens["control"]) as client:
        command = client.submit("pause", apply_at_step=19_000)

    (added,) = [entry for entry in room.store.commands.find(RUN_ID) if entry not in before]
    assert added.id == command["id"]
    assert added.state is CommandState.QUEUED
    with room.client() as client:
        client.cancel(command["id"])


def test_a_cancellation_whose_answer_was_lost_is_one(room: ControlRoom) -> None:
    with room.client() as client:
        command = client.submit("pause", apply_at_step=19_000)
    with losing_answers(room.server.port, 1) as url, Client(url, room.tokens["control"]) as client:
        assert client.cancel(command["id"])["state"] == "cancelled"


def test_settings_change_only_where_they_are_still_what_was_seen(room: ControlRoom) -> None:
    with room.client() as client:
        _, tag = client.tagged_settings()
        assert client.submit("set", {"LR_SCALE": 0.7}, dry_run=True, if_match=tag)["accepted"] is True
        with pytest.raises(ApiError) as refused:
            client.change_settings({"LR_SCALE": 0.7}, if_match='"of yesterday"')

    assert refused.value.slug == "precondition-failed"

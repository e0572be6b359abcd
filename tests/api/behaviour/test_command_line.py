"""What the command line says of the refusals of a real server: its own options and commands, no routes."""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from service.cli import exit_code
from tests.api.harness.example_run import LAST_STEP, MAX_STEPS, write_run
from tests.api.harness.serving import Server


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("cancel abc", "There is no command 'abc'; `leitstand commands` lists the latest."),
        ("stats show 3", "There is no record 'Statistik_3.json'; `leitstand stats list` lists all."),
        ("state --run nobody", "There is no run 'nobody' here; `leitstand runs` lists all."),
        ("rollback 3", "There is no checkpoint 3; none was saved yet, ask for one with `leitstand checkpoint`."),
        (
            "events --kinds foo",
            "--kinds takes no 'foo'; it takes: state, log, record, command, alert, event.",
        ),
        ("series grad_norm --points 6", "--points is '6', but must be a whole number from 10 to 5000."),
        ("series zzz", "NAMES takes no 'zzz'; the documentation on this server lists all names."),
        ("stats compare --names zzz", "--names takes no 'zzz'; the documentation on this server lists all names."),
        (f"stop --at {LAST_STEP}", f"--at is {LAST_STEP}, but the run is at step {LAST_STEP} already."),
        (
            f"set LOG_EVERY=7 --at {MAX_STEPS + 1}",
            f"--at is {MAX_STEPS + 1}, but the run ends at MAX_STEPS, which is {MAX_STEPS}; raise MAX_STEPS before.",
        ),
        ("stop --expires 1e9", "--expires is '1000000000.0', but must be seconds above 0 to 604800."),
        ("events --after x", "--after is 'x', but must be the id of an event."),
        ("set MAX_STEPS=5", "MAX_STEPS is 5, but must be above the run's step"),
    ],
)
def test_a_refusal_names_options_and_commands(
    server: Server, capsys: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    assert exit_code([*line.split(), "--url", server.url]) != 0

    said = capsys.readouterr().err
    assert said.startswith(f"Error: {sentence}")
    assert not OF_PROGRAMS.search(said)


OF_PROGRAMS = re.compile(
    r"Authorization|Bearer|Idempotency-Key|Last-Event-ID|If-Match|ETag|header|(?<![\w.:/])/[a-z]+\b"
)
"""Names of headers and routes."""


@pytest.mark.parametrize(
    ("given", "sentences"),
    [
        ((), ["needs a token: give one (LEITSTAND_TOKEN, --token-file)", "`leitstand token create` on the server"]),
        (
            ("--token", "unknown"),
            [
                "The token is unknown, revoked or expired: give another (LEITSTAND_TOKEN",
                "`leitstand token create` on the server",
            ],
        ),
    ],
)
@pytest.mark.parametrize("command", [("state",), ("validate", "--wait"), ("events",), ("watch", "--plain")])
def test_who_has_no_token_that_counts_is_told_how_to_give_one(
    root: Path,
    serving: Callable[..., AbstractContextManager[Server]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: Sequence[str],
    given: Sequence[str],
    sentences: Sequence[str],
) -> None:
    monkeypatch.delenv("LEITSTAND_TOKEN", raising=False)
    with serving(root, API_TOKEN="correct-horse-battery-staple") as server:
        assert exit_code([*command, *given, "--url", server.url]) == 2

    said = capsys.readouterr().err
    assert all(sentence in said for sentence in sentences)
    assert not OF_PROGRAMS.search(said)


def test_a_name_that_the_server_does_not_serve_is_that_of_the_address(
    root: Path, serving: Callable[..., AbstractContextManager[Server]], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(root, API_HOSTS="box.example", API_TOKEN="correct-horse-battery-staple") as server:
        assert exit_code(["state", "--url", server.url]) == 2

    said = capsys.readouterr().err
    assert said.startswith("Error: The host in the server's address is '127.0.0.1")
    assert "but API_HOSTS names others: ask box.example" in said


def test_whole_runs_look_the_same_at_the_server_and_in_their_directory(
    tmp_path: Path,
    serving: Callable[..., AbstractContextManager[Server]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "run"
    write_run(root).close()
    findings: dict[str, list[list[str]]] = {}
    sections: dict[str, list[str]] = {}
    with serving(root) as server:
        for place, where in (("directory", [str(root)]), ("server", ["--url", server.url])):
            out = tmp_path / place
            assert exit_code(["stats", "plot", *where, "--out", f"{out}.png"]) == 0
            assert exit_code(["stats", "report", *where, "--out", f"{out}.html"]) == 0
            capsys.readouterr()
            assert exit_code(["stats", "check", *where, "--json"]) in (0, 1)
            found = json.loads(capsys.readouterr().out)["findings"]
            findings[place] = [[one["kind"], one["evidence"]] for one in found]
            sections[place] = re.findall(r"<h2>(.*?)</h2>", Path(f"{out}.html").read_text())

    assert findings["server"] == findings["directory"]
    assert sections["server"] == sections["directory"]
    assert "Interventions" in sections["server"]
    assert (tmp_path / "server.png").read_bytes() == (tmp_path / "directory.png").read_bytes()

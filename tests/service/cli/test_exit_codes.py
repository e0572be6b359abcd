"""Every command that asks a server, against every way in which asking fails: one exit code, one sentence, or JSON."""

import json
from collections.abc import Iterator

import click
import pytest

from service.cli import exit_code, leitstand
from service.client import retry
from tests.service.harness.stand_in import Answer, StandIn, free_port, problem

ASKING: dict[str, tuple[str, str]] = {
    "state": ("GET", "/state"),
    "runs": ("GET", "/runs"),
    "ranks": ("GET", "/ranks"),
    "ranks --stack 1": ("GET", "/ranks/1/stack"),
    f"provenance {'a' * 64}": ("GET", f"/provenance/{'a' * 64}"),
    "alerts": ("GET", "/alerts"),
    "events": ("GET", "/events"),
    "log": ("GET", "/logs"),
    "checkpoints": ("GET", "/checkpoints"),
    "series total_loss_value": ("GET", "/series"),
    "commands": ("GET", "/commands"),
    "settings": ("GET", "/settings"),
    "stats list": ("GET", "/statistics"),
    "stats show": ("GET", "/statistics/latest"),
    "stats get latest": ("GET", "/statistics/latest"),
    "stats csv": ("GET", "/statistics"),
    "stats jsonl": ("GET", "/statistics"),
    "stats compare a b": ("GET", "/statistics/compare"),
    "stats compare a b --summary": ("GET", "/runs/a/statistics"),
    "stats check a": ("GET", "/runs/a/statistics"),
    "stats plot a": ("GET", "/runs/a/statistics"),
    "stats push a --to tensorboard": ("GET", "/runs/a/statistics"),
    "stats report a": ("GET", "/runs/a/statistics"),
    "validate": ("POST", "/validate"),
    "validate --wait": ("POST", "/validate"),
    "preview bikes.mp4 --frames 3": ("POST", "/previews"),
    "pause": ("POST", "/pause"),
    "resume": ("POST", "/resume"),
    "checkpoint": ("POST", "/checkpoint"),
    "stop --dry-run": ("POST", "/stop"),
    "stop": ("POST", "/stop"),
    "rollback": ("POST", "/rollback"),
    "set LR_SCALE=1": ("PATCH", "/settings"),
    "watch --plain": ("GET", "/state"),
    "cancel c0ffee": ("DELETE", "/commands/c0ffee"),
    "name deeper": ("GET", "/state"),
    "note deeper": ("GET", "/state"),
}
"""What a person types, and what it asks first."""

REFUSALS = [
    (401, "unauthorized", 2), (403, "insufficient-scope", 2), (404, "not-found", 2), (409, "run-ended", 1),
    (412, "precondition-failed", 1), (422, "invalid-argument", 2), (429, "too-many-requests", 1),
    (500, "internal-error", 1), (502, "", 3), (503, "no-run", 3), (503, "no-trainer", 3),
    (503, "storage-unavailable", 3),
]  # fmt: skip


def leaves(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by what a person types."""
    if isinstance(command, click.Group):
        for name, part in command.commands.items():
            yield from leaves(part, *path, name)
    else:
        yield " ".join(path), command


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_the_table_names_every_command_that_asks_a_server() -> None:
    asking = {name for name, command in leaves(leitstand) if "--url" in options(command)}

    assert {name for name in asking if not any(line.startswith(name) for line in ASKING)} == set()


def test_every_command_that_asks_a_server_can_be_told_which_and_how() -> None:
    for name, command in leaves(leitstand):
        if "--url" in options(command):
            assert {"--token", "--token-file", "--run", "--ca", "--json"} <= options(command), name


@pytest.mark.parametrize("line", ASKING)
def test_no_server_is_3(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(retry, "UNREACHED_PAUSES_SECONDS", ())
    url = f"http://127.0.0.1:{free_port()}"

    assert exit_code([*line.split(), "--url", url]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"Error: Nothing answers at {url}: ")


@pytest.mark.parametrize("line", ASKING)
def test_a_refusal_has_one_code_and_the_servers_sentence(
    server: StandIn, line: str, capsys: pytest.CaptureFixture[str], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    for status, slug, code in REFUSALS:
        server.on(*ASKING[line], problem(status, "It cannot be.", slug, Retry_After="3600"))

        assert exit_code([*line.split(), "--url", server.url]) == code, (status, slug)
        printed = capsys.readouterr()
        sentence = f"{server.url} needs a token: " if slug == "unauthorized" else "It cannot be.\n"
        assert (printed.out, printed.err.partition(sentence)[:2]) == ("", ("Error: ", sentence))


@pytest.mark.parametrize("line", ASKING)
def test_with_json_an_error_is_one_object_on_stderr(
    server: StandIn, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(*ASKING[line], problem(503, "No trainer is alive.", "no-trainer", Retry_After="2"))

    assert exit_code([*line.split(), "--json", "--url", server.url]) == 3
    printed = capsys.readouterr()
    expected = {"slug": "no-trainer", "status": 503, "detail": "No trainer is alive.", "exit_code": 3}
    assert (printed.out, json.loads(printed.err)) == ("", expected)


@pytest.mark.parametrize(
    ("options", "slug", "code"),
    [
        (["--url", "ftp://x"], "bad-input", 2),
        (["--url", "{url}", "--run", ".."], "bad-input", 2),
        (["--url", "https://127.0.0.1:{free}"], "server-unreachable", 3),
        (["--url", "{url}"], "bad-answer", 1),
    ],
)
def test_with_json_an_error_of_this_machine_is_one_too(
    server: StandIn,
    options: list[str],
    slug: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.on("GET", "/state", Answer(b"<html>"))
    given = [text.format(free=free_port(), url=server.url) for text in options]

    assert exit_code(["state", "--json", *given]) == code
    found = json.loads(capsys.readouterr().err)
    assert (found["slug"], found["status"], found["exit_code"]) == (slug, None, code)


def test_a_page_that_is_not_the_apis_is_1(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    for line, asked in ASKING.items():
        server.on(*asked, Answer(b"<html>a router's page</html>", headers={"Content-Type": "text/html"}))

        assert exit_code([*line.split(), "--url", server.url]) == 1, line
        printed = capsys.readouterr()
        assert printed.out == ""
        sentence = "sent no name" if line == "stats get latest" else "does not answer as Leitstand's API does"
        assert sentence in printed.err, line

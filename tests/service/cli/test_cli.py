"""The command line as a whole: its commands, its errors, its exit codes; over a real HTTP server."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from service import __version__
from service.cli import exit_code, leitstand, main
from service.cli.stats.command import stats
from tests.service.harness.stand_in import Answer, StandIn, command


def test_the_commands_are_these() -> None:
    names = set(leitstand.commands)

    assert names == {
        "up", "train", "serve", "validate", "pause", "resume", "checkpoint", "stop", "set", "rollback", "cancel",
        "settings", "commands", "state", "runs", "ranks", "alerts", "events", "log", "stats", "series", "checkpoints",
        "prepare", "pack", "fork", "upscale", "export", "token", "doctor", "watch", "name", "note", "reproduce",
        "replay", "signature", "provenance", "preview", "evaluate",
    }  # fmt: skip
    assert set(stats.commands) == {
        "list", "show", "get", "csv", "jsonl", "compare", "plot", "report", "check", "verify", "prune", "compress",
        "rebuild", "push", "import-tensorboard",
    }  # fmt: skip


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in leitstand.commands:
        assert exit_code([name, "--help"]) == 0
        assert f"Usage: leitstand {name}" in capsys.readouterr().out


@pytest.mark.parametrize("group", [[], ["stats"]])
def test_the_list_of_commands_cuts_no_sentence_off(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    exit_code([*group, "--help"])

    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


def test_the_installed_command_says_its_version() -> None:
    answer = subprocess.run(
        [Path(sys.executable).with_name("leitstand"), "--version"], capture_output=True, text=True, check=True
    )

    assert answer.stdout == f"leitstand {__version__}\n"


def test_main_leaves_with_the_commands_exit_code(server: StandIn) -> None:
    with pytest.raises(SystemExit) as left:
        main(["state", "--url", server.url])

    assert left.value.code == 2


def test_url_and_token_come_from_the_environment_too(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEITSTAND_URL", server.url)
    monkeypatch.setenv("LEITSTAND_TOKEN", "secret")
    server.on("POST", "/pause", Answer(command(), 202))

    assert exit_code(["pause"]) == 0
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_token_can_come_from_a_file(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEITSTAND_TOKEN", "of-the-environment")
    file = tmp_path / "token"
    file.write_text("\ufeffsecret\n", encoding="utf-8")  # some editors write a byte order mark first
    server.on("GET", "/state", Answer({}))

    assert exit_code(["state", "--url", server.url, "--token-file", str(file)]) == 0
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    capsys.readouterr()
    assert exit_code(["state", "--url", server.url, "--token-file", str(file), "--token", "other"]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "cannot be read"), (b"\n", "is empty"), (b"\xff", "cannot be")]
)
def test_a_file_without_a_token_is_one_sentence(
    tmp_path: Path, content: bytes | None, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    assert exit_code(["state", "--token-file", str(file)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_run_is_named_by_option_or_environment(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on("GET", "/runs/a/state", Answer({}))
    server.on("GET", "/runs/b/state", Answer({}))

    assert exit_code(["state", "--url", server.url, "--run", "a"]) == 0
    monkeypatch.setenv("LEITSTAND_RUN", "b")
    assert exit_code(["state", "--url", server.url]) == 0


@pytest.mark.parametrize("arguments", [["unknown"], ["state", "--unknown"], ["validate", "--timeout", "0"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(arguments) == 2
    assert "Error: " in capsys.readouterr().err


def test_ctrl_c_is_quiet(server: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.client.client.Client.state", interrupted)

    assert exit_code(["state", "--url", server.url]) == 130
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "method", "path", "body"),
    [
        (["state"], "GET", "/state", {"run_state": "läuft"}),
        (["runs"], "GET", "/runs", {"runs": [], "skipped": [], "next_cursor": None}),
        (["ranks"], "GET", "/ranks", {"ranks": []}),
        (["alerts"], "GET", "/alerts", {"alerts": []}),
        (["checkpoints"], "GET", "/checkpoints", {"checkpoints": [], "unreadable": []}),
        (["series", "grad_norm"], "GET", "/series", {"names": ["grad_norm"], "steps": []}),
        (["stats", "list"], "GET", "/statistics", {"records": [], "unreadable": [], "count": 0, "next_cursor": None}),
        (["stats", "show"], "GET", "/statistics/latest", {"step_current": 500}),
        (["stats", "compare", "a"], "GET", "/statistics/compare", {"records": []}),
        (["settings"], "GET", "/settings", {"changeable": []}),
        (["stop"], "POST", "/stop", command()),
        (["cancel", "c0ffee"], "DELETE", "/commands/c0ffee", command("cancelled")),
    ],
)
def test_json_is_the_servers_answer(
    server: StandIn, capsys: pytest.CaptureFixture[str], arguments: list[str], method: str, path: str, body: object
) -> None:
    server.on(method, path, Answer(body))

    assert exit_code([*arguments, "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == body


def test_output_that_nobody_reads_any_more_is_no_traceback(server: StandIn) -> None:
    server.on("GET", "/state", Answer({"run_state": "running"}))
    command_line = f"{Path(sys.executable).with_name('leitstand')} state --json --url {server.url} | true"

    answer = subprocess.run(["bash", "-c", command_line], capture_output=True, text=True, check=True)

    assert answer.stderr == ""


def test_a_long_table_that_nobody_reads_to_its_end_is_no_traceback(server: StandIn) -> None:
    server.on("GET", "/statistics", Answer(b"step,value\n" * 200_000, headers={"Content-Type": "text/csv"}))
    command_line = f"{Path(sys.executable).with_name('leitstand')} stats csv --url {server.url} | head -n 1"

    answer = subprocess.run(["bash", "-c", command_line], capture_output=True, text=True, check=True)

    assert (answer.stdout, answer.stderr) == ("step,value\n", "")


@pytest.mark.parametrize("line", ["state", "stats csv"])
def test_output_that_finds_no_room_is_one_sentence(server: StandIn, line: str) -> None:
    server.on("GET", "/state", Answer({"run_state": "running"}))
    server.on("GET", "/statistics", Answer(b"step\n" * 9, headers={"Content-Type": "text/csv"}))
    command_line = f"{Path(sys.executable).with_name('leitstand')} {line} --url {server.url} > /dev/full"

    answer = subprocess.run(["bash", "-c", command_line], capture_output=True, text=True, check=False)

    sentence = "Error: The output cannot be written (No space left on device).\n"
    assert (answer.returncode, answer.stderr) == (1, sentence)


def test_a_file_error_that_nothing_else_explains_names_the_file_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "of/a\nlibrary")

    monkeypatch.setattr("service.cli.exit_code", refused)
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 2
    sentence = "Error: of/a\\nlibrary cannot be used (Permission denied: mend the permissions).\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_any_terminal_shows_an_answer_and_json_stays_json(server: StandIn, encoding: str) -> None:
    """Signs that it lacks, and halves of signs, which names of foreign files can hold."""
    server.on("GET", "/state", Answer({"run_id": "läuft 📊 \udcff", "run_state": "running"}))
    command_line = [Path(sys.executable).with_name("leitstand"), "state", "--url", server.url]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    text = subprocess.run(command_line, env=environment, capture_output=True, check=True)
    found = subprocess.run([*command_line, "--json"], env=environment, capture_output=True, check=True)

    assert text.stdout.startswith(b"run ")
    assert json.loads(found.stdout.decode(encoding))["run_id"] == "läuft 📊 \udcff"
    assert text.stderr + found.stderr == b""


def test_the_group_is_a_click_group() -> None:
    assert isinstance(leitstand, click.Group)

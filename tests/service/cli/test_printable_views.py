"""Names that a line break, a colour or a turned direction of writing is hidden in: every view shows them as escapes."""

import json
from typing import Any

import pytest

from service.cli import exit_code
from service.client import sse
from service.errors import UNPRINTABLE
from tests.service.harness.stand_in import Answer, StandIn, command, page, problem

HOSTILE = "\nforged \x1b[31m\u202e"

RUN = {
    "run_id": "r", "run_state": "running", "run_reason": "why", "step": 1, "step_max": 2, "started_at": 0.0,
    "heartbeat_at": 0.0, "age_seconds": 1.0, "directory": "/runs/r", "is_default": True, "url": "/runs/r",
}  # fmt: skip
RANK = {
    "rank": 0, "host": "box", "pid": 1, "device": "cpu", "stage": "step", "stage_seconds": 1.0, "step": 1,
    "age_seconds": 1.0,
}  # fmt: skip
RECORD = {
    "name": "Statistik_5.json", "step": 5, "quality_ki_value": 0.7, "quality_lr_value": 0.6, "psnr_ki_db": 30.0,
    "quality_improvement_value": 0.1, "validation_loss_value": 0.01, "trigger": "manual", "modified_at": 0.0,
}  # fmt: skip
SAVED = {"name": "step_0000005", "step": 5, "size_bytes": 9, "saved_at": 0.0, "links": ["best"]}
SETTING = {"name": "LR_SCALE", "value": "a", "start_value": "b", "range": "0…1"}
ODD = [{"name": "file", "directory": "folder", "reason": "it is broken"}]

VIEWS: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "state": (["state"], "/state", {**RUN, "step_current": 1, "world_size": 2, "lr_phase_name": "cosine"}),
    "runs": (["runs"], "/runs", {"runs": [RUN], "skipped": ODD}),
    "commands": (["commands"], "/commands", dict(page("commands", [command("failed", reason="no")]).body)),
    "ranks": (["ranks"], "/ranks", {"ranks": [RANK]}),
    "alerts": (["alerts"], "/alerts", {"alerts": [{"name": "lost", "since": 0.0, "sentence": "Gone."}]}),
    "checkpoints": (["checkpoints"], "/checkpoints", {"checkpoints": [SAVED], "unreadable": ODD}),
    "records": (["stats", "list"], "/statistics", {"records": [RECORD], "unreadable": ODD, "count": 1}),
    "record": (["stats", "show", "5"], "/statistics/Statistik_5.json", {"run_id": "r", "slow_rank": None}),
    "comparison": (
        ["stats", "compare"],
        "/statistics/compare",
        {"names": ["x"], "runs": ["r"], "records": [{"run_id": "r", "step": 5, "values": {"x": "text"}}]},
    ),
    "settings": (["settings"], "/settings", {"changeable": [SETTING], "pins": {}, "changes": {}, "pending": []}),
}


def hostile(value: Any) -> Any:
    """The same answer, but every text in it ends with `HOSTILE`."""
    if isinstance(value, dict):
        return {name: hostile(item) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_names_as_escapes(server: StandIn, capsys: pytest.CaptureFixture[str], view: str) -> None:
    arguments, path, answer = VIEWS[view]
    server.on("GET", path, Answer(answer), Answer(hostile(answer)))

    assert exit_code([*arguments, "--url", server.url]) == 0
    calm = capsys.readouterr()
    assert exit_code([*arguments, "--url", server.url]) == 0
    shown = capsys.readouterr()

    for text, calm_text in ((shown.out, calm.out), (shown.err, calm.err)):
        assert UNPRINTABLE.findall(text) == ["\n"] * calm_text.count("\n")
    assert r"\nforged \x1b[31m\u202e" in shown.out


@pytest.mark.parametrize("view", VIEWS)
def test_json_is_exact_and_printable(server: StandIn, capsys: pytest.CaptureFixture[str], view: str) -> None:
    arguments, path, answer = VIEWS[view]
    body = hostile(answer)
    server.on("GET", path, Answer(body))

    assert exit_code([*arguments, "--json", "--url", server.url]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert {name: found[name] for name in body if name in found} == {name: body[name] for name in body if name in found}
    assert set(UNPRINTABLE.findall(printed)) == {"\n"}


def test_events_errors_and_outcomes_are_one_line_each(
    server: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "DEFAULT_PAUSE_SECONDS", 0.02)
    data = json.dumps({"time": 1.0, "name": f"Statistik{HOSTILE}", "is_on": True, "sentence": HOSTILE})
    stream = f"id: 1\nevent: record\ndata: {data}\n\nid: 2\nevent: alert\ndata: {data}\n\n".encode()
    server.on(
        "GET", "/events", Answer(stream, headers={"Content-Type": "text/event-stream"}), problem(404, f"no{HOSTILE}")
    )
    server.on("POST", "/validate", Answer(command("rejected", reason=HOSTILE)))

    assert exit_code(["events", "--url", server.url]) == 2
    printed = capsys.readouterr()
    assert UNPRINTABLE.findall(printed.out) == ["\n", "\n"]
    assert printed.err == "Error: no\\nforged \\x1b[31m\\u202e\n"
    assert exit_code(["validate", "--wait", "--url", server.url]) == 1
    assert UNPRINTABLE.findall(capsys.readouterr().err) == ["\n"]


def test_the_log_and_a_stack_keep_their_lines_and_nothing_else(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Answer(b"first\n\x1b[31mred\tlast\n", headers={"Content-Type": "text/plain"})
    server.on("GET", "/logs", text)
    server.on("GET", "/ranks/0/stack", text)

    for arguments in (["log"], ["ranks", "--stack", "0"]):
        assert exit_code([*arguments, "--url", server.url]) == 0
        assert capsys.readouterr().out == "first\n\\x1b[31mred\tlast\n"

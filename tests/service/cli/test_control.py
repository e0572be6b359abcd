"""The commands that ask something of a running training, over a real HTTP server."""

import json

import pytest

from service.cli import exit_code
from service.config.loader import NAMES
from tests.service.harness.stand_in import Answer, StandIn, command, page, problem


@pytest.mark.parametrize("kind", ["validate", "pause", "resume", "checkpoint", "stop"])
def test_a_command_is_submitted_and_named(server: StandIn, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    server.on("POST", f"/{kind}", Answer(command(kind=kind), 202))

    assert exit_code([kind, "--url", server.url]) == 0
    assert capsys.readouterr().out == f"{kind} queued as command c0ffee\n"
    assert server.requests[0].headers["X-Leitstand-Source"] == "cli"


def test_settings_to_change_are_sent_as_texts_that_the_server_understands(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("PATCH", "/settings", Answer(command(kind="set"), 202))

    assert exit_code(["set", "MAX_STEPS=5000", "L1_WEIGHT = adaptive", "--url", server.url]) == 0
    assert capsys.readouterr().out == "set queued as command c0ffee\n"
    assert json.loads(server.requests[0].body) == {"MAX_STEPS": "5000", "L1_WEIGHT": "adaptive"}


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (["MAX_STEPS"], "set takes KEY=VALUE, but got 'MAX_STEPS'."), (["=5"], "set takes KEY=VALUE, but got '=5'."),
        (["LR_SCALE=1", "LR_SCALE=2"], "LR_SCALE is given twice; give it once."),
    ],
)  # fmt: skip
def test_what_is_no_setting_to_change_is_not_sent(
    server: StandIn, capsys: pytest.CaptureFixture[str], pairs: list[str], sentence: str
) -> None:
    assert exit_code(["set", *pairs, "--url", server.url]) == 2
    assert capsys.readouterr().err == f"Error: {sentence}\n"
    assert server.requests == []


def test_set_without_a_setting_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["set"]) == 2
    assert "Missing argument 'KEY=VALUE...'" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "name"), [([], "latest"), (["best"], "best"), (["500"], "500")])
def test_a_rollback_goes_to_the_latest_checkpoint_or_the_one_named(
    server: StandIn, given: list[str], name: str
) -> None:
    server.on("POST", "/rollback", Answer(command(kind="rollback"), 202))

    assert exit_code(["rollback", *given, "--url", server.url]) == 0
    assert json.loads(server.requests[0].body) == {"checkpoint": name}


@pytest.mark.parametrize("line", [["validate"], ["stop"], ["set", "LR_SCALE=1"], ["rollback"]])
def test_every_command_can_be_put_off_and_can_expire(
    server: StandIn, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    for method, path in (("POST", f"/{line[0]}"), ("PATCH", "/settings")):
        server.on(method, path, Answer(command(kind=line[0], apply_at_step=500), 202))

    assert exit_code([*line, "--at", "500", "--expires", "90", "--url", server.url]) == 0
    assert server.requests[0].target.partition("?")[2] == "apply_at_step=500&expires_in=90.0"
    assert capsys.readouterr().out == f"{line[0]} queued for step 500 as command c0ffee\n"


@pytest.mark.parametrize(("flags", "moment"), [([], ""), (["--at", "500"], " for step 500")])
def test_a_dry_run_says_what_would_be(
    server: StandIn, capsys: pytest.CaptureFixture[str], flags: list[str], moment: str
) -> None:
    server.on("POST", "/stop", Answer({"accepted": True, "kind": "stop"}))

    assert exit_code(["stop", "--dry-run", "--wait", *flags, "--url", server.url]) == 0
    assert "dry_run=true" in server.requests[0].target
    assert capsys.readouterr().out == f"stop would be accepted{moment}\n"
    assert exit_code(["stop", "--dry-run", "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": True, "kind": "stop"}


@pytest.mark.parametrize("flags", [["--at", "0"], ["--at", "soon"], ["--expires", "0"], ["--expires", "-1"]])
def test_a_condition_that_cannot_be_is_wrong_usage(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["pause", *flags]) == 2
    assert "Invalid value" in capsys.readouterr().err


def test_a_queued_command_is_cancelled_by_its_id(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("DELETE", "/commands/c0ffee", Answer(command("cancelled")), problem(409, "It is running."))

    assert exit_code(["cancel", "c0ffee", "--url", server.url]) == 0
    assert capsys.readouterr().out == "validate cancelled\n"
    assert exit_code(["cancel", "c0ffee", "--url", server.url]) == 1
    assert capsys.readouterr().err == "Error: It is running.\n"


def test_settings_are_a_table_of_what_can_change(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    changeable = [
        {"name": "LR_SCALE", "value": 0.5, "start_value": 1.0, "range": "between 0 and 100", "meaning": "a factor"},
        {"name": "SAVE_BEST", "value": True, "start_value": True, "range": "true or false", "meaning": "whether"},
        {"name": "L1_WEIGHT", "value": 0.6, "start_value": 0.6, "range": "between 0 and 1", "meaning": "a weight"},
    ]
    changes, pins = {"LR_SCALE": 0.5, "L1_WEIGHT": 0.6}, {"L1_WEIGHT": 0.6}
    pending = [{"command_id": "c0ffee", "changes": {"LR_SCALE": 0.1, "SAVE_BEST": False}, "apply_at_step": None}]
    body = {"settings": {}, "changes": changes, "pins": pins, "pending": pending, "changeable": changeable}
    server.on("GET", "/settings", Answer(body))

    assert exit_code(["settings", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "setting    value  at the start  may be",
        "LR_SCALE     0.5           1.0  between 0 and 100  changed, soon 0.1",
        "SAVE_BEST   true          true  true or false      soon false",
        "L1_WEIGHT    0.6           0.6  between 0 and 1    held",
    ]
    assert exit_code(["settings", "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == body


def test_wait_shows_the_result(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("POST", "/validate", Answer(command(), 202))
    result = {"quality": 0.71234567, "record": "Statistik_12.json", "loss": None}
    server.on("GET", "/commands/c0ffee", Answer(command("done", step=12, result=result)))

    assert exit_code(["validate", "--wait", "--url", server.url]) == 0
    assert capsys.readouterr().out == "validate done at step 12: quality 0.712346, record Statistik_12.json\n"


def test_a_command_is_cancelled_by_the_beginning_of_its_id_that_the_table_shows(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, other = "c0ffee01" + 24 * "a", "c0ffee02" + 24 * "a"
    server.on("GET", "/commands", page("commands", [command(id=whole), command(id=other)]))
    server.on("DELETE", f"/commands/{whole}", Answer(command("cancelled")))

    assert exit_code(["commands", "--url", server.url]) == 0
    for shown, line in zip((whole[:8], other[:8]), capsys.readouterr().out.splitlines()[1:], strict=True):
        assert shown in line.split()
    assert exit_code(["cancel", whole[:8], "--url", server.url]) == 0
    for beginning in ("c0ffee", "c0ffee0", "deadbeef"):
        assert exit_code(["cancel", beginning, "--url", server.url]) == 2


@pytest.mark.parametrize("state", ["failed", "rejected", "expired", "cancelled"])
def test_a_command_that_did_not_succeed_is_exit_code_1(
    server: StandIn, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    server.on("POST", "/checkpoint", Answer(command(kind="checkpoint"), 202))
    server.on("GET", "/commands/c0ffee", Answer(command(state, kind="checkpoint", reason="the disk is full")))

    assert exit_code(["checkpoint", "--wait", "--url", server.url]) == 1
    assert capsys.readouterr() == ("", f"Error: checkpoint {state}: the disk is full\n")


def test_a_wait_that_is_over_is_exit_code_124(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("POST", "/validate", Answer(command(), 202))
    server.on("GET", "/commands/c0ffee", Answer(command("running")))

    assert exit_code(["validate", "--wait", "--timeout", "0.1", "--url", server.url]) == 124
    assert "has not ended within 0.1 s" in capsys.readouterr().err


def test_commands_are_listed_newest_first_with_their_outcome(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    done = command("done", step=12, result={"record": "Statistik_12.json"})
    failed = command("failed", id="dead", kind="checkpoint", reason="the disk is full", actor="eva@box", source="web")
    server.on("GET", "/commands", page("commands", [failed, done], "next"), page("commands", [command()]))

    assert exit_code(["commands", "--limit", "3", "--url", server.url]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["asked", "at", "by", "from", "id", "command"]
    assert [line.split("  ")[-1] for line in lines] == [
        "checkpoint failed: the disk is full", "validate done at step 12: record Statistik_12.json", "validate queued",
    ]  # fmt: skip
    assert server.targets == ["/commands?limit=3", "/commands?limit=3&cursor=next"]


def test_commands_can_be_of_one_kind_state_and_person(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/commands", page("commands", []))

    line = ["commands", "--kind", "validate", "--state", "done", "--actor", "eva@box", "--url", server.url]
    assert exit_code(line) == 0
    assert capsys.readouterr().out == "No such command was given.\n"
    assert server.targets == ["/commands?kind=validate&state=done&actor=eva%40box&limit=20"]
    assert exit_code([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"commands": []}
    assert exit_code(["commands", "--kind", "dance"]) == 2


def test_a_key_makes_one_command_of_many_calls(server: StandIn) -> None:
    server.on("POST", "/checkpoint", Answer(command(kind="checkpoint"), 202))

    assert exit_code(["checkpoint", "--key", "nightly", "--url", server.url]) == 0
    assert exit_code(["checkpoint", "--key", "nightly", "--url", server.url]) == 0
    assert exit_code(["checkpoint", "--url", server.url]) == 0
    first, second, third = (request.headers["Idempotency-Key"] for request in server.requests)
    assert (first, second) == ("nightly", "nightly")
    assert third != first


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (["pause"], {}),
        (["pause", "--wait"], {}),
        (["set", "LR_SCALE=1"], {"LR_SCALE": "1"}),
        (["stop", "--dry-run"], {}),
    ],
)
def test_a_reason_goes_with_the_command(server: StandIn, line: list[str], arguments: dict[str, str]) -> None:
    for method, path in (("POST", f"/{line[0]}"), ("PATCH", "/settings")):
        server.on(method, path, Answer(command("done", kind=line[0]), 200))

    assert exit_code([*line, "--why", "the machine is needed", "--url", server.url]) == 0
    assert json.loads(server.requests[0].body) == {**arguments, "why": "the machine is needed"}


@pytest.mark.parametrize(
    ("line", "body", "said"),
    [
        (["name", "deeper network"], {"name": "deeper network"}, "name of run run-1: deeper network"),
        (["note", "twice the blocks"], {"note": "twice the blocks"}, "note of run run-1: twice the blocks"),
        (["name", ""], {"name": None}, "run run-1 has no name now"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--run", "run-1"]])
def test_a_run_is_given_a_name_or_a_note(
    server: StandIn, capsys: pytest.CaptureFixture[str], line: list[str], body: dict[str, str], said: str,
    options: list[str],
) -> None:  # fmt: skip
    server.on("GET", "/state", Answer({"run_id": "run-1"}))
    server.on("PATCH", "/runs/run-1", Answer({"run_id": "run-1", "name": None, "note": None, **body}))

    assert exit_code([*line, *options, "--url", server.url]) == 0
    assert json.loads(server.requests[-1].body) == body
    assert server.requests[-1].headers["X-Leitstand-Source"] == "cli"
    assert capsys.readouterr().out == f"{said}\n"


def test_a_preview_names_its_clip_and_says_where_the_picture_is(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"preview": "rendered_a.mp4_7.webp", "frames": 3, "url": "/previews/500/rendered_a.mp4_7.webp"}
    server.on("POST", "/previews", Answer(command("done", kind="preview", step=500, result=result)))

    assert exit_code(["preview", "a.mp4", "--frame", "7", "--frames", "3", "--wait", "--url", server.url]) == 0
    assert json.loads(server.requests[0].body) == {"clip": "a.mp4", "frame": 7, "frames": 3}
    assert capsys.readouterr().out == (
        "preview done at step 500: preview rendered_a.mp4_7.webp, frames 3, url /previews/500/rendered_a.mp4_7.webp\n"
    )


def test_every_setting_can_be_looked_up_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["settings", "--all", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["settings"]
    assert {entry["setting"] for entry in shown} == set(NAMES)
    assert all(entry["meaning"] and "`" not in entry["meaning"] for entry in shown)

    assert exit_code(["settings", "--all"]) == 0
    said = capsys.readouterr().out
    assert [name for name in NAMES if f"\n{name} " not in said] == []

"""The command line over a real HTTP server; what starts processes is stopped at the point where it would."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from service import __version__
from service.cli import exit_code, leitstand, main
from service.cli import up as up_module
from service.cli.table import duration
from service.supervisor import Plan
from tests.service.stand_in import Answer, StandIn, command, problem

STARTED = dict[str, Any]


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> STARTED:
    """What this process would have become."""
    seen: STARTED = {}

    def become(file: str, arguments: list[str], environment: dict[str, str]) -> None:
        seen.update(file=file, arguments=arguments, environment=environment)

    monkeypatch.setattr(os, "execvpe", become)
    return seen


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that `up` hands to its supervisor."""
    plans: list[Plan] = []

    class Supervisor:
        def __init__(self, plan: Plan, _echo: object) -> None:
            plans.append(plan)

        def run(self) -> int:
            return 7

    monkeypatch.setattr(up_module, "Supervisor", Supervisor)
    return plans


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "data" / "Patches" / "GT").mkdir(parents=True)
    return tmp_path / "data"


def settings(**values: object) -> list[str]:
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def test_the_commands_are_these() -> None:
    names = set(leitstand.commands)

    assert names == {
        "up", "train", "serve", "validate", "pause", "resume", "checkpoint", "stop", "set", "rollback", "cancel",
        "settings", "state", "ranks", "stats", "prepare", "doctor",
    }  # fmt: skip


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in leitstand.commands:
        assert exit_code([name, "--help"]) == 0
        assert f"Usage: leitstand {name}" in capsys.readouterr().out


def test_the_list_of_commands_cuts_no_sentence_off(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code(["--help"])

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
    body = {"settings": {}, "changes": changes, "pins": pins, "changeable": changeable}
    server.on("GET", "/settings", Answer(body))

    assert exit_code(["settings", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "setting    value  at the start  may be",
        "LR_SCALE     0.5           1.0  between 0 and 100  changed",
        "SAVE_BEST   true          true  true or false",
        "L1_WEIGHT    0.6           0.6  between 0 and 1    held",
    ]
    assert exit_code(["settings", "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == body


def test_url_and_token_come_from_the_environment_too(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEITSTAND_URL", server.url)
    monkeypatch.setenv("LEITSTAND_TOKEN", "secret")
    server.on("POST", "/pause", Answer(command(), 202))

    assert exit_code(["pause"]) == 0
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_wait_shows_the_result(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("POST", "/validate", Answer(command(), 202))
    result = {"quality": 0.71234567, "record": "Statistik_12.json", "loss": None}
    server.on("GET", "/commands/c0ffee", Answer(command("done", step=12, result=result)))

    assert exit_code(["validate", "--wait", "--url", server.url]) == 0
    assert capsys.readouterr().out == "validate done at step 12: quality 0.712346, record Statistik_12.json\n"


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


@pytest.mark.parametrize(("status", "code"), [(503, 3), (409, 1), (401, 2), (500, 1)])
def test_a_refusal_is_the_servers_sentence(
    server: StandIn, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    server.on("POST", "/validate", problem(status, "No trainer is alive."))

    assert exit_code(["validate", "--url", server.url]) == code
    assert capsys.readouterr() == ("", "Error: No trainer is alive.\n")


def test_an_unreachable_server_is_exit_code_3(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["state", "--url", f"http://127.0.0.1:{port}"]) == 3
    assert capsys.readouterr().err.startswith(f"Error: Nothing answers at http://127.0.0.1:{port}: ")


@pytest.mark.parametrize("arguments", [["unknown"], ["state", "--unknown"], ["validate", "--timeout", "0"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(arguments) == 2
    assert "Error: " in capsys.readouterr().err


def test_ctrl_c_is_quiet(server: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.client.Client.state", interrupted)

    assert exit_code(["state", "--url", server.url]) == 130
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "method", "path", "body"),
    [
        (["state"], "GET", "/state", {"run_state": "läuft"}),
        (["stats", "list"], "GET", "/statistics", {"records": [], "unreadable": [], "count": 0}),
        (["stop"], "POST", "/stop", command()),
    ],
)
def test_json_is_the_servers_answer(
    server: StandIn, capsys: pytest.CaptureFixture[str], arguments: list[str], method: str, path: str, body: object
) -> None:
    server.on(method, path, Answer(body))

    assert exit_code([*arguments, "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == body


def test_state_is_a_calm_aligned_summary(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = {
        "run_id": "run-1", "run_state": "paused", "run_reason": "by eva", "age_seconds": 0.42, "step_live": 120,
        "step_current": 110, "step_max": 3000, "epoch_num": 2, "epoch_step_current": 5, "epoch_step_total": 60,
        "eta_total_formatted": "00:12:00", "iteration_duration": 0.25, "samples_per_second": 16.0, "world_size": 2,
        "total_loss_value": 0.01234567, "learning_rate_value": 1e-4, "lr_phase_name": "cosine",
        "quality_ki_value": 0.7, "quality_lr_value": 0.6, "best_quality_ever": 0.71, "psnr_ki_db": 30.1,
        "psnr_lr_db": 28.0,
    }  # fmt: skip
    server.on("GET", "/state", Answer(snapshot))

    assert exit_code(["state", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "run            run-1",
        "state          paused (by eva)",
        "heard of       0.4 s ago",
        "step           120 of 3000",
        "epoch          2, step 5 of 60",
        "time left      00:12:00",
        "step time      0.250 s",
        "samples        16.0 per second on 2 ranks",
        "loss           0.01235",
        "learning rate  0.0001 (cosine)",
        "quality KI     0.7000 (LR 0.6000, best 0.7100)",
        "PSNR KI        30.10 dB (LR 28.00 dB)",
    ]


def test_state_before_the_first_log_point_shows_dashes(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/state", Answer({"run_state": "starting", "step_live": 0, "step_current": 3, "run_reason": None}))

    assert exit_code(["state", "--url", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "state          starting"
    assert lines[3] == "step           3 of –"
    assert lines[8] == "loss           –"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10.0 s"), (12, "12 s"), (200, "3 min 20 s"), (18120, "5 h 2 min")],
)
def test_durations_read_like_words(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_stats_list_is_an_aligned_table(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "name": "Statistik_500.json", "step": 500, "size_bytes": 9, "modified_at": 0.0, "sha256": "0",
        "trigger": "schedule", "quality_ki_value": 0.7, "quality_lr_value": 0.6, "quality_improvement_value": 0.1,
        "validation_loss_value": 0.01, "psnr_ki_db": 30.0, "url": "/statistics/Statistik_500.json",
    }  # fmt: skip
    later = {**entry, "name": "Statistik_10000.json", "step": 10000, "psnr_ki_db": None, "trigger": "manual"}
    unreadable = [{"name": "Statistik_3.json", "reason": "not JSON"}]
    server.on("GET", "/statistics", Answer({"records": [entry, later], "unreadable": unreadable, "count": 2}))

    assert exit_code(["stats", "list", "--url", server.url]) == 0
    printed = capsys.readouterr()
    heading, first, second = printed.out.splitlines()
    assert heading.startswith("record                 step  quality KI")
    assert first.startswith("Statistik_500.json      500      0.7000      0.6000  +0.1000    30.00  0.01000  schedule")
    assert second.startswith("Statistik_10000.json  10000      0.7000      0.6000  +0.1000        –  0.01000  manual  ")
    assert printed.err == "unreadable: Statistik_3.json (not JSON)\n"


def test_stats_list_without_records_says_when_there_will_be_one(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET", "/statistics", Answer({"records": [], "unreadable": [], "count": 0}))

    assert exit_code(["stats", "list", "--url", server.url]) == 0
    assert "after every validation" in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "last"), [([], "MAX_STEPS=5"), (["--resume"], "--resume"), (["--fresh"], "--fresh")])
def test_train_becomes_torchrun(dataset: Path, started: STARTED, flags: list[str], last: str) -> None:
    chosen = settings(DATASET_ROOT=dataset, threads_per_rank=3, MAX_STEPS=5)

    assert exit_code(["train", "--ranks", "3", "--restarts", "2", *flags, *chosen]) == 0

    arguments = started["arguments"]
    assert arguments[:5] == [sys.executable, "-m", "service.torchrun", "--standalone", "--nproc-per-node=3"]
    assert arguments[5:8] == ["--max-restarts=2", "-m", "ddp"]
    assert arguments[-1] == last
    assert started["environment"]["OMP_NUM_THREADS"] == "3"


def test_train_without_data_says_what_to_do(
    tmp_path: Path, started: STARTED, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["train", *settings(DATASET_ROOT=tmp_path)]) == 2
    assert f"DATASET_ROOT {tmp_path} holds no patch set: run `leitstand prepare`, or set" in capsys.readouterr().err
    assert not started


def test_train_refuses_both_ways_to_start(dataset: Path, started: STARTED, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", "--resume", "--fresh", *settings(DATASET_ROOT=dataset)]) == 2
    assert "--resume and --fresh exclude each other" in capsys.readouterr().err


def test_serve_becomes_gunicorn_and_says_where(port: int, started: STARTED, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["serve", *settings(API_PORT=port)]) == 0
    assert started["arguments"][1:3] == ["-m", "gunicorn"]
    assert started["environment"]["LEITSTAND_API_PORT"] == str(port)
    assert capsys.readouterr().out == f"Dashboard: http://127.0.0.1:{port}/\n"


@pytest.mark.parametrize("verb", ["serve", "up"])
def test_a_port_in_use_is_one_sentence(
    verb: str, started: STARTED, planned: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert exit_code([verb, *settings(API_PORT=port)]) == 2

    error = capsys.readouterr().err
    assert f"Port {port} on 127.0.0.1 is in use" in error
    assert "--set API_PORT=" in error
    assert not started
    assert not planned


@pytest.mark.parametrize("verb", ["serve", "up"])
def test_an_open_address_without_a_token_is_refused(
    verb: str, started: STARTED, planned: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([verb, *settings(API_HOST="0.0.0.0")]) == 2
    assert "API_TOKEN" in capsys.readouterr().err
    assert not started
    assert not planned


def test_prepare_becomes_the_preparation(started: STARTED, tmp_path: Path) -> None:
    assert exit_code(["prepare", *settings(DATASET_ROOT=tmp_path, SCALE=4, CLIPS="film")]) == 0
    assert started["arguments"][1:] == [
        "-m", "ddp.vsr.prepare", "--dataset", str(tmp_path), "--scale", "4", "--frames", "5", "--clips", "film",
    ]  # fmt: skip


def test_up_plans_trainer_api_and_no_preparation(dataset: Path, tmp_path: Path, port: int, planned: list[Plan]) -> None:
    root = tmp_path / "run"

    assert exit_code(["up", "--ranks", "1", *settings(DATASET_ROOT=dataset, DATA_ROOT=root, API_PORT=port)]) == 7

    (plan,) = planned
    assert plan.preparation is None
    assert plan.trainer.command[-1] == "--resume"
    assert plan.api.environment["LEITSTAND_DATA_ROOT"] == str(root)
    assert (plan.store, plan.log) == (root / "leitstand.db", root / "training.log")
    assert plan.url == f"http://127.0.0.1:{port}/"
    assert plan.serve_on is False  # nobody sits at a terminal


def test_up_fresh_archives(dataset: Path, tmp_path: Path, port: int, planned: list[Plan]) -> None:
    exit_code(["up", "--fresh", "--ranks", "1", *settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port)])

    assert planned[0].trainer.command[-1] == "--fresh"


@pytest.mark.parametrize("clips", ["small", "film"])
def test_up_prepares_where_there_is_no_patch_set(
    tmp_path: Path, port: int, planned: list[Plan], capsys: pytest.CaptureFixture[str], clips: str
) -> None:
    places = settings(DATASET_ROOT=tmp_path / "data", DATA_ROOT=tmp_path / "run", API_PORT=port, CLIPS=clips)
    exit_code(["up", "--ranks", "1", *places])

    assert planned[0].preparation is not None
    assert planned[0].preparation.command[-2:] == ("--clips", clips)
    assert f"holds no patch set yet: making one from clips '{clips}'" in capsys.readouterr().out


def test_up_lets_the_preparation_look_whenever_videos_are_named(
    dataset: Path, tmp_path: Path, port: int, planned: list[Plan]
) -> None:
    places = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path / "run", API_PORT=port, VIDEO_ROOT="/my films")
    exit_code(["up", "--ranks", "1", *places])

    assert planned[0].preparation is not None
    assert planned[0].preparation.command[-2:] == ("--videos", "/my films")


def test_up_in_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, port: int, planned: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert exit_code(["up", *settings(DATA_ROOT=tmp_path / "file" / "run", API_PORT=port)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not planned


@pytest.mark.parametrize("verb", ["up", "train", "serve", "prepare", "doctor"])
def test_a_wrong_setting_is_one_sentence_with_the_right_name(
    verb: str, started: STARTED, planned: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([verb, *settings(DATA_ROT="x")]) == 2
    assert capsys.readouterr().err == "Error: Unknown setting 'DATA_ROT'. Did you mean DATA_ROOT?\n"


def test_the_settings_file_can_be_named_by_the_environment(
    tmp_path: Path, started: STARTED, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("SCALE = 2\n")
    monkeypatch.setenv("LEITSTAND_CONFIG", str(file))

    assert exit_code(["prepare"]) == 0
    assert started["arguments"][5:7] == ["--scale", "2"]


def test_doctor_finds_all_well(dataset: Path, tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "Patches" / "GT" / "1.png").touch()
    places = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port, DEVICE="cpu")

    assert exit_code(["doctor", *places]) == 0

    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert f"{dataset}, 1 patches" in out
    assert "training on the CPU" in out


def test_doctor_names_what_would_not_work_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.doctor.find_spec", lambda module: None if module == "flask" else object())
    monkeypatch.setattr("service.cli.doctor.LITTLE_SPACE_GIB", 1e9)
    monkeypatch.setattr("service.launch.count_devices", lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = settings(
            DATASET_ROOT=tmp_path / "data", DATA_ROOT=tmp_path / "run", API_PORT=taken.getsockname()[1], DEVICE="cuda"
        )
        assert exit_code(["doctor", *places]) == 1

    out = capsys.readouterr().out
    failures = [line.split("FAIL")[0].strip() for line in out.splitlines() if "FAIL" in line]
    assert failures == ["packages", "devices", "run directory", "dataset", "address"]
    assert "flask (extra 'api')" in out
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_a_folder_in_which_the_run_cannot_be_made(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write anywhere
    places = settings(DATA_ROOT=tmp_path / "a" / "b", API_PORT=port, DEVICE="cpu")

    assert exit_code(["doctor", *places]) == 1
    assert f"cannot be made in {tmp_path};" in capsys.readouterr().out


def test_output_that_nobody_reads_any_more_is_no_traceback(server: StandIn) -> None:
    server.on("GET", "/state", Answer({"run_state": "running"}))
    command_line = f"{Path(sys.executable).with_name('leitstand')} state --json --url {server.url} | true"

    answer = subprocess.run(["bash", "-c", command_line], capture_output=True, text=True, check=True)

    assert answer.stderr == ""


def test_the_group_is_a_click_group() -> None:
    assert isinstance(leitstand, click.Group)

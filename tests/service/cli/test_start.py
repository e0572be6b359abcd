"""The commands that start processes, stopped at the point where they would; and `doctor`."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.cli import up as up_module
from service.launcher.supervisor import LaunchPlan
from service.store.store import Store

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
def planned(monkeypatch: pytest.MonkeyPatch) -> list[LaunchPlan]:
    """The plans that `up` hands to its supervisor."""
    plans: list[LaunchPlan] = []

    class Supervisor:
        def __init__(self, plan: LaunchPlan, _echo: object) -> None:
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


@pytest.mark.parametrize(("flags", "last"), [([], "MAX_STEPS=5"), (["--resume"], "--resume"), (["--fresh"], "--fresh")])
def test_train_becomes_torchrun(dataset: Path, started: STARTED, flags: list[str], last: str) -> None:
    chosen = settings(DATASET_ROOT=dataset, threads_per_rank=3, MAX_STEPS=5)

    assert exit_code(["train", "--ranks", "3", "--restarts", "2", *flags, *chosen]) == 0

    arguments = started["arguments"]
    assert arguments[:5] == [sys.executable, "-m", "service.launcher.torchrun", "--standalone", "--nproc-per-node=3"]
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
    verb: str, started: STARTED, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str]
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
    verb: str, started: STARTED, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str]
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


def test_up_plans_trainer_api_and_no_preparation(
    dataset: Path, tmp_path: Path, port: int, planned: list[LaunchPlan]
) -> None:
    root = tmp_path / "run"

    assert exit_code(["up", "--ranks", "1", *settings(DATASET_ROOT=dataset, DATA_ROOT=root, API_PORT=port)]) == 7

    (plan,) = planned
    assert plan.preparation is None
    assert plan.trainer.command[-1] == "--resume"
    assert plan.api.environment["LEITSTAND_DATA_ROOT"] == str(root)
    assert (plan.store, plan.log) == (root / "leitstand.db", root / "training.log")
    assert plan.url == f"http://127.0.0.1:{port}/"
    assert plan.serve_on is False  # nobody sits at a terminal


def test_up_fresh_archives(dataset: Path, tmp_path: Path, port: int, planned: list[LaunchPlan]) -> None:
    exit_code(["up", "--fresh", "--ranks", "1", *settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port)])

    assert planned[0].trainer.command[-1] == "--fresh"


@pytest.mark.parametrize("clips", ["small", "film"])
def test_up_prepares_where_there_is_no_patch_set(
    tmp_path: Path, port: int, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str], clips: str
) -> None:
    places = settings(DATASET_ROOT=tmp_path / "data", DATA_ROOT=tmp_path / "run", API_PORT=port, CLIPS=clips)
    exit_code(["up", "--ranks", "1", *places])

    assert planned[0].preparation is not None
    assert planned[0].preparation.command[-2:] == ("--clips", clips)
    assert f"holds no patch set yet: making one from clips '{clips}'" in capsys.readouterr().out


def test_up_lets_the_preparation_look_whenever_videos_are_named(
    dataset: Path, tmp_path: Path, port: int, planned: list[LaunchPlan]
) -> None:
    places = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path / "run", API_PORT=port, VIDEO_ROOT="/my films")
    exit_code(["up", "--ranks", "1", *places])

    assert planned[0].preparation is not None
    assert planned[0].preparation.command[-2:] == ("--videos", "/my films")


def test_up_in_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, port: int, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert exit_code(["up", *settings(DATA_ROOT=tmp_path / "file" / "run", API_PORT=port)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not planned


@pytest.mark.parametrize("verb", ["up", "train", "serve", "prepare", "doctor"])
def test_a_wrong_setting_is_one_sentence_with_the_right_name(
    verb: str, started: STARTED, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str]
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
    monkeypatch.setattr("service.cli.doctor.MIN_FREE_GIB", 1e9)
    monkeypatch.setattr("service.launcher.programs.count_devices", lambda: 0)
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


def test_doctor_names_a_store_and_tokens_that_cannot_be_used(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "leitstand.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    (tmp_path / "tokens.json").write_text("{}")
    places = settings(DATA_ROOT=tmp_path, API_PORT=port, DEVICE="cpu", API_TOKENS=tmp_path / "tokens.json")

    assert exit_code(["doctor", "--json", *places]) == 1

    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert (found["store"]["mark"], found["tokens"]["mark"]) == ("FAIL", "FAIL")
    assert "leitstand.db: file is not a database; look at STORE_URL" in found["store"]["finding"]
    assert "tokens.json is damaged" in found["tokens"]["finding"]


def test_doctor_looks_at_a_shared_store_and_makes_nothing_there(
    tmp_path: Path, port: int, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def finding(url: str) -> str:
        exit_code(["doctor", "--json", *settings(DATA_ROOT=tmp_path, API_PORT=port, DEVICE="cpu", STORE_URL=url)])
        (row,) = [row for row in json.loads(capsys.readouterr().out)["checks"] if row["check"] == "store"]
        return f"{row['mark']}: {row['finding']}"

    assert (
        finding(store_url)
        == finding(store_url)
        == ("ok: STORE_URL leads to a database without tables yet; the first start makes them")
    )
    store = Store(store_url)
    store.open_run("5f0c1e77ab42", {})
    store.close()
    assert finding(store_url).endswith(", run 5f0c1e77ab42")
    assert finding(f"{store_url}-not-there").startswith("FAIL: store postgresql://127.0.0.1")


def test_doctor_names_a_folder_in_which_the_run_cannot_be_made(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write anywhere
    places = settings(DATA_ROOT=tmp_path / "a" / "b", API_PORT=port, DEVICE="cpu")

    assert exit_code(["doctor", *places]) == 1
    assert f"cannot be made in {tmp_path};" in capsys.readouterr().out

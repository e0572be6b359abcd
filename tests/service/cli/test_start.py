"""The commands that start processes, stopped at the point where they would; and `doctor`."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.cli import up as up_module
from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.launcher.supervisor import LaunchPlan
from service.run.claim import claim
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.provenance import provenance
from service.store.store import Store
from tests.service.harness.checkpoints import save_checkpoint

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

    assert exit_code(["train", "--ranks", "3", "--restarts", "2", "--replay", "r.json", *flags, *chosen]) == 0

    arguments = started["arguments"]
    assert arguments[:5] == [sys.executable, "-m", "service.launcher.torchrun", "--standalone", "--nproc-per-node=3"]
    assert arguments[5:8] == ["--max-restarts=2", "-m", "ddp"]
    assert arguments[-1] == ("REPLAY_FILE=r.json" if last == "MAX_STEPS=5" else last)
    assert "REPLAY_FILE=r.json" in arguments
    assert started["environment"]["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("verb", ["train", "prepare"])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGXCPU, signal.SIGQUIT])
def test_an_announcement_while_one_program_replaces_another_counts_as_sigterm(
    dataset: Path, tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    (tmp_path / "videos").mkdir()
    given = settings(DATASET_ROOT=dataset if verb == "train" else tmp_path / "new", VIDEO_ROOT=tmp_path / "videos")

    ended = replaced_under_signal(tmp_path, number, [verb, *given])

    assert ended.returncode in {-signal.SIGTERM, 128 + signal.SIGTERM}, ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("verb", ["pack", "export", "serve"])
def test_ctrl_c_before_the_new_program_handles_it_ends_it_without_a_traceback(
    dataset: Path, tmp_path: Path, port: int, verb: str
) -> None:
    paths = ["out.safetensors"] if verb == "export" else []
    given = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path / "run", API_PORT=port)

    ended = replaced_under_signal(tmp_path, signal.SIGINT, [verb, *paths, *given])

    assert ended.returncode == (0 if verb == "serve" else 130), ended.stderr
    assert "Traceback" not in ended.stderr


def replaced_under_signal(
    tmp_path: Path, number: signal.Signals, command: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run a command that becomes another program, which gets a signal as soon as its interpreter starts."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os; number = os.environ.pop('ANNOUNCEMENT', None); number and os.kill(os.getpid(), int(number))"
    )
    code = """if True:
        import os, sys
        from service.cli import main
        become, number = os.execvpe, sys.argv.pop(1)
        def announced(file, arguments, environment):
            become(file, arguments, {**environment, "ANNOUNCEMENT": number})
        os.execvpe = announced
        main(sys.argv[1:])
        """
    return subprocess.run(
        [sys.executable, "-c", code, str(number.value), *command],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip


def test_train_without_data_says_what_to_do(
    tmp_path: Path, started: STARTED, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["train", *settings(DATASET_ROOT=tmp_path)]) == 2
    assert f"DATASET_ROOT {tmp_path} holds no patch set: run `leitstand prepare`" in capsys.readouterr().err
    assert not started


def test_train_refuses_both_ways_to_start(dataset: Path, started: STARTED, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", "--resume", "--fresh", *settings(DATASET_ROOT=dataset)]) == 2
    assert "--resume and --fresh exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "up"])
def test_one_of_several_tasks_of_a_scheduler_starts_no_ranks_of_its_own(
    dataset: Path, started: STARTED, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name, value in (("SLURM_PROCID", "1"), ("SLURM_LOCALID", "1"), ("SLURM_STEP_NUM_TASKS", "4")):
        monkeypatch.setenv(name, value)

    assert exit_code([command, "--set", f"DATASET_ROOT={dataset}"]) == 2
    assert "srun has started 4 of these" in capsys.readouterr().err
    assert not started


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


def test_a_second_start_in_the_same_folder_names_the_run_that_is_going(
    started: STARTED, planned: list[LaunchPlan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        claimed = claim(RunDirectory(tmp_path), resume=True, fresh=False)
        given = settings(API_PORT=taken.getsockname()[1], DATA_ROOT=tmp_path)
        assert exit_code(["up", *given]) == 2
        claimed.lock.close()
        error = capsys.readouterr().err
        assert exit_code(["up", *given]) == 2

    assert f"{tmp_path} is being trained already ({socket.gethostname()}, process {os.getpid()})" in error
    assert f"run {claimed.identity.run_id} goes on there" in error
    assert "is in use" in capsys.readouterr().err, "once nobody trains there, it is the port"
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
        "-m", "ddp.vsr.prepare", "--dataset", str(tmp_path), "--scale=4", "--frames=5", "--degradation=bicubic",
        "--hdr=map", "--clips", "film",
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


@pytest.mark.parametrize(
    ("options", "term", "has_line"), [([], "xterm", True), (["--plain"], "xterm", False), ([], "dumb", False)]
)
def test_at_a_terminal_a_status_line_takes_the_place_of_step_lines(
    dataset: Path, tmp_path: Path, port: int, planned: list[LaunchPlan], monkeypatch: pytest.MonkeyPatch,
    options: list[str], term: str, has_line: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    exit_code(["up", "--ranks", "1", *options, *settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port)])

    (plan,) = planned
    assert plan.has_status_line is has_line
    assert ("--no-step-lines" in plan.trainer.command) is has_line


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
    assert planned[0].preparation.command[-3:] == ("--keep", "--videos", "/my films")


def test_up_in_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, port: int, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert exit_code(["up", *settings(DATA_ROOT=tmp_path / "file" / "run", API_PORT=port)]) == 2
    assert "is a file; choose another folder" in capsys.readouterr().err
    assert not planned


@pytest.mark.parametrize("verb", ["up", "train", "serve", "prepare", "doctor"])
def test_a_wrong_setting_is_one_sentence_with_the_right_name(
    verb: str, started: STARTED, planned: list[LaunchPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([verb, *settings(DATA_ROT="x")]) == 2
    said = "Unknown setting 'DATA_ROT'. Did you mean DATA_ROOT? DATA_ROT comes from --set."
    assert capsys.readouterr().err == f"Error: {said}\n"


@pytest.mark.parametrize("verb", ["up", "train"])
def test_a_value_that_cannot_be_used_is_told_with_its_origin(
    verb: str,
    started: STARTED,
    planned: list[LaunchPlan],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('DEVICE = "cpu"\nSTATIC_GRAPH = true\n')
    monkeypatch.setenv("LEITSTAND_ACCUMULATION_STEPS", "2")
    monkeypatch.setenv("DATASET_ROOT", "nowhere")

    assert exit_code([verb, "--config", str(file)]) == 2
    assert capsys.readouterr().err.endswith(
        f"STATIC_GRAPH comes from the file {file}, ACCUMULATION_STEPS comes from the environment variable "
        "LEITSTAND_ACCUMULATION_STEPS.\n"
    )
    monkeypatch.delenv("LEITSTAND_ACCUMULATION_STEPS")
    if verb == "train":
        assert exit_code([verb, "--config", str(file)]) == 2
        said = "DATASET_ROOT to a folder with Patches and Val. DATASET_ROOT comes from the environment variable "
        assert f"{said}DATASET_ROOT.\n" in capsys.readouterr().err


def test_the_settings_file_can_be_named_by_the_environment(
    tmp_path: Path, started: STARTED, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("SCALE = 2\n")
    monkeypatch.setenv("LEITSTAND_CONFIG", str(file))

    assert exit_code(["prepare"]) == 0
    assert "--scale=2" in started["arguments"]


def test_doctor_finds_all_well(dataset: Path, tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "Patches" / "LR").mkdir()
    for kind in ("GT", "LR"):
        (dataset / "Patches" / kind / "1.png").touch()
    places = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port, DEVICE="cpu")

    assert exit_code(["doctor", *places]) == 0

    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert f"{dataset}, 1 patches" in out
    assert "training on the CPU" in out


def test_doctor_does_not_call_a_patch_set_well_in_which_no_pictures_match_and_says_where_it_was_named(
    dataset: Path, tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "Patches" / "GT" / "1.png").touch()

    assert exit_code(["doctor", "--json", *settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port)]) == 1

    checks = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["dataset"]["mark"] == "FAIL"
    said = checks["dataset"]["finding"]
    assert said.startswith(
        f"DATASET_ROOT {dataset} holds no pair of PNG files of one name in Patches/GT and Patches/LR"
    )
    assert said.endswith("DATASET_ROOT comes from --set.")


@pytest.mark.parametrize(
    ("side", "values", "finding"),
    [
        (48, {"BATCH_SIZE": 2, "NUM_WORKERS": 4}, "0 MiB needed"),
        (2**16, {"BATCH_SIZE": 1, "NUM_WORKERS": 1}, "has "),  # 78 GiB: no machine of today has so much there
        (48, {"BATCH_SIZE": 4096, "NUM_WORKERS": 128, "PATCH_SIZE": 4096}, "has "),
        (2**16, {"NUM_WORKERS": 0}, "not needed"),
    ],
)
def test_doctor_compares_the_shared_memory_with_what_loaders_need(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], side: int, values: dict[str, int], finding: str
) -> None:
    size = side.to_bytes(4)
    (dataset / "Patches" / "GT" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + size + size)

    exit_code(["doctor", "--json", *settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, DEVICE="cpu", **values)])

    checks = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    checked = checks["shared memory"]
    assert finding in checked["finding"]
    assert (checked["mark"] == "FAIL") == (finding == "has ")
    if finding == "has ":
        assert "set a smaller NUM_WORKERS or BATCH_SIZE; NUM_WORKERS=0 needs none" in checked["finding"]


def test_doctor_names_what_would_not_work_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.launcher.extras.find_spec", lambda module: None if module == "flask" else object())
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
    assert "not installed: flask; " in out
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


def test_fork_prints_the_settings_that_its_parent_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = RunDirectory(tmp_path / "parent")
    save_checkpoint(parent, 20)
    config = RunConfig(n_feats=96, dataset_root=tmp_path / "my data", api_token="hidden-one")
    origins = dict.fromkeys(("N_FEATS", "DATASET_ROOT", "API_TOKEN"), "--set")
    sha256 = provenance.write(parent, LoadedConfig(config, origins), {})
    parent.write_identity(RunIdentity("5f0c1e77ab42", provenance=sha256))

    assert exit_code(["fork", str(parent.root), str(tmp_path / "fork")]) == 0

    words = shlex.split(capsys.readouterr().out.splitlines()[1].partition(": ")[2])
    given = {word for word in words if "=" in word}
    assert given == {"N_FEATS=96", f"DATASET_ROOT={tmp_path / 'my data'}", f"DATA_ROOT={tmp_path / 'fork'}"}


def test_fork_makes_a_run_of_its_own_and_says_how_to_continue_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, target = RunDirectory(tmp_path / "parent"), tmp_path / "fork"
    save_checkpoint(parent, 20)
    parent.write_identity(RunIdentity("5f0c1e77ab42"))

    assert exit_code(["fork", str(parent.root), str(target)]) == 0

    first, second = capsys.readouterr().out.splitlines()
    run_id = RunDirectory(target).run_id()
    assert first.startswith(f"Run {run_id} in {target} is forked from run 5f0c1e77ab42 at step 20, with 0 records")
    assert second.endswith(f"leitstand train --resume --set DATA_ROOT={target}")
    assert exit_code(["fork", str(parent.root), str(target)]) == 2
    assert capsys.readouterr().err == f"Error: {target} exists and is not an empty folder; choose another.\n"


@pytest.mark.parametrize("verb", ["up", "train", "pack", "doctor"])
def test_a_set_of_data_sources_that_is_not_there_is_refused_before_anything_starts(
    verb: str, dataset: Path, tmp_path: Path, port: int, started: STARTED, planned: list[LaunchPlan],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path / "run", API_PORT=port, DATA_SOURCES="/films:2")

    assert exit_code([verb, *places]) == (1 if verb == "doctor" else 2)

    said = " ".join("".join(capsys.readouterr()).split())
    assert "DATA_SOURCES names /films, which holds no patch set ({Patches,Val}/{GT,LR}/*.png): correct the path" in said
    assert "DATA_SOURCES comes from --set." in said
    assert not started
    assert not planned
    assert not (tmp_path / "run").exists()


def test_up_with_data_sources_may_still_have_to_make_the_set_in_dataset_root(
    dataset: Path, tmp_path: Path, port: int, planned: list[LaunchPlan]
) -> None:
    mine = tmp_path / "mine"
    places = settings(DATASET_ROOT=mine, DATA_ROOT=tmp_path / "run", API_PORT=port)

    assert exit_code(["up", "--ranks", "1", *places, *settings(DATA_SOURCES=f"{dataset}:2,{mine}:3")]) == 7
    assert planned[0].preparation is not None


def test_pack_packs_every_set_of_data_sources(dataset: Path, tmp_path: Path, started: STARTED) -> None:
    other = tmp_path / "other"
    (other / "Patches" / "GT").mkdir(parents=True)
    places = settings(DATASET_ROOT=dataset, DATA_SOURCES=f"{other}:2")

    assert exit_code(["pack", *places]) == 0
    assert started["arguments"][3:7] == ["--dataset", str(dataset), "--dataset", str(other)]
    assert exit_code(["pack", *places, "--container", "shards", "--out", str(tmp_path / "out")]) == 0
    assert started["arguments"].count("--dataset") == 1


def test_doctor_counts_the_patches_of_every_set(
    dataset: Path, tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    for folder, count in ((dataset, 1), (other, 2)):
        for kind in ("GT", "LR"):
            (folder / "Patches" / kind).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (folder / "Patches" / kind / f"{number}.png").touch()
    places = settings(DATASET_ROOT=dataset, DATA_ROOT=tmp_path, API_PORT=port, DEVICE="cpu", DATA_SOURCES=f"{other}:2")

    assert exit_code(["doctor", "--json", *places]) == 0
    assert f"{dataset}, 1 patches; {other}, 2 patches" in capsys.readouterr().out

"""`leitstand stats push` and `import-tensorboard`: what others get by their own libraries, and what comes back."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.cli.stats.exchange.event_scalars import read_scalars
from service.run.records.history import Records
from service.run.records.tables.tags import TRAINING_TAGS, VALIDATION_TAGS
from tests.service.harness.pushed_records import ACTIVITY, a_full_record, save_full_run
from tests.service.harness.read_back import read_runs
from tests.service.harness.saved_records import save_original, save_record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_full_run(tmp_path / "demo", (500, 1000, 1500))


def push(run: Path, tracker: str, where: Path | str) -> int:
    return exit_code(["stats", "push", str(run), "--to", tracker, "--where", str(where)])


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of MLflow with a store of files of its own."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    library = pytest.importorskip("mlflow")
    return library.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())


def runs_in(mlflow: Any) -> list[Any]:
    experiment = mlflow.get_experiment_by_name("leitstand")
    return sorted(mlflow.search_runs([experiment.experiment_id]), key=lambda run: run.data.tags["leitstand.branch"])


def test_mlflow_gets_every_number_at_its_step_and_time_and_the_settings(run: Path, tmp_path: Path, mlflow: Any) -> None:
    assert push(run, "mlflow", (tmp_path / "mlruns").as_uri()) == 0
    (found,) = runs_in(mlflow)

    record = a_full_record(1500)
    for key, tag in {**TRAINING_TAGS, **VALIDATION_TAGS}.items():
        assert found.data.metrics[tag] == record[key], key
    history = mlflow.get_metric_history(found.info.run_id, "quality/ki")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (step, a_full_record(step)["quality_ki_value"], 1000 * (1_000_000_000 + step)) for step in (500, 1000, 1500)
    ]
    assert found.data.metrics["activity/Forward 1"] == 1.6
    assert found.data.metrics["rank/1/own_seconds"] == 1.4
    assert found.data.params["N_FEATS"] == "96"
    assert found.info.run_name == "city"
    assert found.data.tags["mlflow.note.content"] == "first try"
    assert found.data.tags["leitstand.rollbacks"] == "from step 1200 to step_0001000 (command of anna), at step 1000"
    assert found.data.tags["leitstand.validation_data"] == "v"


def test_a_second_push_adds_later_records_only_and_a_new_branch_is_a_run_of_its_own(
    run: Path, tmp_path: Path, mlflow: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (tmp_path / "mlruns").as_uri()
    push(run, "mlflow", where)
    save_record(run, 2000, **a_full_record(2000))
    capsys.readouterr()
    assert push(run, "mlflow", where) == 0
    assert capsys.readouterr().out.startswith("demo: 1 new records in MLflow's run ")
    (found,) = runs_in(mlflow)
    history = mlflow.get_metric_history(found.info.run_id, "quality/ki")
    assert [point.step for point in history] == [500, 1000, 1500, 2000]

    save_record(run, 2000, **a_full_record(2000, branch_id=1))
    assert push(run, "mlflow", where) == 0
    first, second = runs_in(mlflow)
    assert first.data.tags["leitstand.continued_by"] == second.info.run_id
    assert len(mlflow.get_metric_history(second.info.run_id, "quality/ki")) == 4


def test_a_second_push_to_aim_adds_later_records_only_and_a_new_branch_is_a_run_of_its_own(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aim")
    push(run, "aim", tmp_path / "aim")
    save_record(run, 2000, **a_full_record(2000))
    capsys.readouterr()
    assert push(run, "aim", tmp_path / "aim") == 0
    assert capsys.readouterr().out.startswith("demo: 1 new records in Aim's run ")

    save_record(run, 2000, **a_full_record(2000, branch_id=1))
    assert push(run, "aim", tmp_path / "aim") == 0
    runs = read_runs("aim", tmp_path / "aim")
    assert {name: sorted(found.numbers) for name, found in runs.items()} == {
        "city": [500, 1000, 1500, 2000],
        "city, branch 1": [500, 1000, 1500, 2000],
    }
    assert runs["city"].numbers[1000]["quality/ki"] == a_full_record(1000)["quality_ki_value"]
    assert "rollback: from step 1200 to step_0001000 (command of anna), at step 1000" in runs["city"].text


def test_a_store_that_the_installed_mlflow_cannot_open_is_one_sentence(
    run: Path, tmp_path: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mlflow is not None
    for missing in ("alembic", "alembic.migration"):
        monkeypatch.setitem(sys.modules, missing, None)
    assert push(run, "mlflow", f"sqlite:///{tmp_path}/mlflow.db") == 2
    assert "install all of it with `pip install mlflow`" in capsys.readouterr().err
    assert push(run, "mlflow", "nonsense://place") == 2
    assert "MLflow refuses" in capsys.readouterr().err


def test_event_files_get_every_number_as_float32(run: Path, tmp_path: Path) -> None:
    assert push(run, "tensorboard", tmp_path / "logs") == 0
    found = read_scalars(tmp_path / "logs" / "r1")

    record = a_full_record(1000)
    for key, tag in {**TRAINING_TAGS, **VALIDATION_TAGS}.items():
        assert found.values[tag][1000] == pytest.approx(record[key], rel=1e-6), key
    assert found.times[1000] == 1_000_001_000
    assert found.problems == []


def test_records_of_any_origin_are_pushed_with_the_numbers_that_they_have(tmp_path: Path) -> None:
    save_original(tmp_path / "old", 500, layer_activity_map={"Forward 1": 0.4, "Final": 1.6, "Other": None})
    path = save_record(tmp_path / "old", 1000, per_rank=[{"rank": "first"}, 7, {"rank": 1, "memory": "much"}])
    assert "much" in path.read_text()

    assert push(tmp_path / "old", "tensorboard", tmp_path / "logs") == 0
    found = read_scalars(tmp_path / "logs" / "r1")
    assert found.values["activity/Forward 1"][500] == pytest.approx(0.4)
    assert sorted(found.values["quality/ki"]) == [500, 1000]
    assert "rank/1/memory_gib" not in found.values


def test_a_second_push_to_event_files_adds_later_records_and_refuses_another_branch(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(run, "tensorboard", tmp_path / "logs")
    save_record(run, 2000, **a_full_record(2000))
    capsys.readouterr()
    assert push(run, "tensorboard", tmp_path / "logs") == 0
    assert capsys.readouterr().out.startswith("demo: 1 new records in ")
    assert sorted(read_scalars(tmp_path / "logs" / "r1").values["quality/ki"]) == [500, 1000, 1500, 2000]

    save_record(run, 2000, **a_full_record(2000, branch_id=1))
    assert push(run, "tensorboard", tmp_path / "logs") == 2
    assert "has another branch of this run" in capsys.readouterr().err


def test_records_come_back_from_event_files_but_for_what_they_cannot_hold(run: Path, tmp_path: Path) -> None:
    push(run, "tensorboard", tmp_path / "logs")
    assert (
        exit_code(["stats", "import-tensorboard", str(tmp_path / "logs" / "r1"), "--out", str(tmp_path / "back")]) == 0
    )
    before, after = Records(run), Records(tmp_path / "back")
    pairs = list(zip(before, after, strict=True))

    assert after.problems == []
    assert [record.step for _, record in pairs] == [500, 1000, 1500]
    for one, other in pairs:
        for key in {**TRAINING_TAGS, **VALIDATION_TAGS}:
            assert other.values[key] == pytest.approx(one.values[key], rel=1e-6), key
        assert other.values["layer_activity_raw_map"] == pytest.approx(ACTIVITY)
        assert other.values["layer_activity_map"] == pytest.approx({"Backward 1": 25.0, "Forward 1": 100.0})
        assert [rank["own_duration"] for rank in other.values["per_rank"]] == pytest.approx([0.4, 1.4])
        assert other.values["last_update_time"] == one.values["last_update_time"]
        assert other.remarks == ()


def test_what_comes_back_can_be_checked_and_drawn(run: Path, tmp_path: Path) -> None:
    push(run, "tensorboard", tmp_path / "logs")
    exit_code(["stats", "import-tensorboard", str(tmp_path / "logs" / "r1"), "--out", str(tmp_path / "back")])

    assert exit_code(["stats", "check", str(tmp_path / "back")]) == 0
    assert exit_code(["stats", "plot", str(tmp_path / "back"), "--out", str(tmp_path / "back.png")]) == 0


def test_tags_of_another_program_are_named_and_a_session_start_hides_what_it_should(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    with SummaryWriter(str(tmp_path / "logs")) as writer:
        for step in (10, 20, 30):
            writer.add_scalar("Loss/train", 1 / step, step, walltime=1e9 + step)
            writer.add_scalar("PSNR/val", step, step, walltime=1e9 + step)
        writer.file_writer.event_writer.add_event(Event(step=20, session_log=SessionLog(status=SessionLog.START)))
        writer.add_scalar("PSNR/val", 5.0, 25, walltime=1e9 + 25)
    line = ["stats", "import-tensorboard", str(tmp_path / "logs"), "--out", str(tmp_path / "run")]

    assert exit_code(line) == 2
    assert "no value of a validation (but Loss/train, PSNR/val); name the tags" in capsys.readouterr().err
    assert exit_code([*line, "--tag", "psnr_ki_db=PSNR/val", "--tag", "total_loss_value=Loss/train"]) == 0
    records = list(Records(tmp_path / "run"))
    assert [(record.step, record.values["psnr_ki_db"]) for record in records] == [(10, 10.0), (25, 5.0)]
    assert [record.values["total_loss_value"] for record in records] == pytest.approx([0.1, 0.1])
    assert {record.run for record in records} == {"run"}


def test_a_damaged_event_file_is_named_and_what_is_before_is_used(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(run, "tensorboard", tmp_path / "logs")
    (path,) = (tmp_path / "logs" / "r1").iterdir()
    path.write_bytes(path.read_bytes()[:-7])

    line = ["stats", "import-tensorboard", str(tmp_path / "logs" / "r1"), "--out", str(tmp_path / "back")]
    assert exit_code(line) == 2
    printed = capsys.readouterr()
    assert "2 records" in printed.out
    assert "it ends within an event, what is before it is used" in printed.err
    assert exit_code(line) == 2
    assert "is not empty; records are made in a directory of their own" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["psnr_ki_db", "nothing=a", "trigger=a", "psnr_ki_db="])
def test_a_tag_that_is_no_key_and_tag_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    line = ["stats", "import-tensorboard", str(tmp_path), "--out", str(tmp_path / "run"), "--tag", text]
    assert exit_code(line) == 2
    assert "must be KEY=TAG" in capsys.readouterr().err


def test_a_folder_of_folders_says_which_have_event_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs" / "one").mkdir(parents=True)
    (tmp_path / "logs" / "one" / "events.out.tfevents.1.host").touch()

    assert exit_code(["stats", "import-tensorboard", str(tmp_path / "logs"), "--out", str(tmp_path / "run")]) == 2
    assert "but its folders one have: name one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tracker", "package"), [("mlflow", "mlflow"), ("wandb", "wandb"), ("trackio", "trackio"), ("aim", "aim")]
)
def test_without_its_library_a_tracker_is_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tracker: str,
    package: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)

    assert push(run, tracker, tmp_path) == 2
    assert f"install it with `pip install {package}`" in capsys.readouterr().err


def test_an_empty_run_has_nothing_to_push(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").touch()

    assert exit_code(["stats", "push", str(tmp_path / "empty"), "--to", "tensorboard", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pushed": [{"run": "empty", "records": 0, "place": ""}]}


def test_event_files_that_cannot_be_made_are_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert push(run, "tensorboard", tmp_path / "file" / "there") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Error: {tmp_path / 'file' / 'there'}/")
    assert said.endswith("cannot be written (Not a directory); choose another place.\n")

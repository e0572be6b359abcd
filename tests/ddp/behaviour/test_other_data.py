"""A run goes on with other data than before: epochs count on, the best begins anew, and nobody has to find out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from service.commands import CommandState, Kind
from tests.ddp.harness.launching import write_pair
from tests.ddp.harness.training import Training

Train = Callable[..., Training]


def write_set(root: Path, count: int, val_size: int) -> Path:
    for index in range(count):
        write_pair(root / "Patches", f"train_{index:02d}", 36, 36, seed=index)
    write_pair(root / "Val", "val", val_size, val_size, seed=99)
    return root


def make_easy(root: Path) -> None:
    """Replace the validation image by one that every network enlarges without an error."""
    for kind in ("GT", "LR"):
        path = root / "Val" / kind / "val.png"
        with Image.open(path) as image:
            size = image.size
        Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(path)


def test_epochs_count_on_and_the_best_begins_anew(train: Train, tmp_path: Path) -> None:
    before, after = write_set(tmp_path / "before", 4, 36), write_set(tmp_path / "after", 30, 48)
    make_easy(before)
    assert train(1, MAX_STEPS=10, VAL_STEP_EVERY=5, DATASET_ROOT=before).end() == 0

    run = train(1, "--resume", output="other.txt", MAX_STEPS=14, VAL_STEP_EVERY=100, DATASET_ROOT=after)
    assert run.end() == 0, run.output
    first, second = run.record(10), run.record(14)
    assert (first["epoch_num"], first["epoch_step_current"]) == (5, 2)
    assert (second["epoch_num"], second["epoch_step_current"], second["epoch_step_total"]) == (6, 4, 15)
    assert second["samples_seen"] == 28
    assert second["best_quality_ever"] == second["quality_ki_value"] < first["best_quality_ever"]
    assert (run.root / "checkpoints" / "best").resolve().name == "step_0000014"
    for key in ("training_data", "validation_data"):
        assert first[key] != second[key]

    (event,) = run.events("data changed")
    assert event["details"]["training"] == {
        "before": first["training_data"], "now": second["training_data"], "count_before": 4, "count_now": 30,
    }  # fmt: skip
    assert event["details"]["validation"]["before"] == first["validation_data"]
    assert "The training set is another than before (4 samples, now 30): epoch 6 begins with it." in run.output
    assert "The validation set is another than before (1 images, now 1): the best quality begins anew." in run.output

    again = train(1, "--resume", output="again.txt", MAX_STEPS=16, DATASET_ROOT=after)
    assert again.end() == 0, again.output
    assert (again.record(16)["epoch_num"], again.record(16)["epoch_step_current"]) == (6, 6)
    assert len(again.events("data changed")) == 1
    manifest = json.loads((run.root / "checkpoints" / "latest" / "manifest.json").read_text())
    assert manifest["step"] == 16


def test_the_same_data_elsewhere_are_the_same_data(train: Train, tmp_path: Path) -> None:
    first, second = write_set(tmp_path / "a", 4, 36), write_set(tmp_path / "b", 4, 36)
    assert train(1, MAX_STEPS=3, DATASET_ROOT=first).end() == 0
    moved = train(1, "--resume", output="moved.txt", MAX_STEPS=5, DATASET_ROOT=second)

    assert moved.end() == 0, moved.output
    assert moved.events("data changed") == []
    assert moved.record(5)["training_data"] == moved.record(3)["training_data"]


def test_a_rollback_to_a_state_of_other_data_says_so(train: Train, tmp_path: Path) -> None:
    before, after = write_set(tmp_path / "before", 4, 36), write_set(tmp_path / "after", 30, 36)
    assert train(2, MAX_STEPS=5, DATASET_ROOT=before).end() == 0
    run = train(2, "--resume", output="other.txt", MAX_STEPS=10**6, KEEP_CHECKPOINTS=0, DATASET_ROOT=after)
    run.wait_for_step(8)

    command = run.ended(run.submit(Kind.ROLLBACK, {"checkpoint": "step_0000005"}))

    assert command.state is CommandState.DONE
    assert [len(run.events("data changed")), run.output.count("The training set is another than before")] == [2, 2]
    run.ask(Kind.STOP)
    assert run.end() == 0

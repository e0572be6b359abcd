"""docs/records.md says what each tracker keeps of a record and what is lost: here it is pushed to them and read back.

Of Weights & Biases, trackio and Aim only where their libraries are installed.
"""

import struct
import sys
from pathlib import Path

import pytest

from service.cli import exit_code
from service.cli.stats.exchange.push import TRACKERS
from service.run.records.tables.tags import TRAINING_TAGS, VALIDATION_TAGS
from tests.service.harness.pushed_records import a_full_record, save_full_run
from tests.service.harness.read_back import ReadBack, place, read_back
from tests.service.harness.saved_records import save_record
from tests.service.harness.trackers_table import table_of

STEPS = (500, 1000)
AT = 1_000_000_000.123456
PACKAGES = {"tensorboard": "tensorboardX"}
TEXTS = {
    "modes, phases, triggers": "Aggressive", "scores of each image": "street.png", "hosts and devices": "cuda:7",
    "settings": "N_FEATS", "name": "city", "note": "first try", "rollbacks": "step_0001000",
}  # fmt: skip
"""A text that the run has, for each row of the table that is about texts."""


def save_run(root: Path) -> None:
    save_full_run(root, ())
    for step in STEPS:
        values = a_full_record(step, last_update_time=AT + step, adaptive_mode="Aggressive")
        values["per_rank"][1]["device"] = "cuda:7"
        image = dict.fromkeys(("psnr_lr_db", "psnr_ki_db", "ssim_lr", "ssim_ki", "quality_lr", "quality_ki"), 0.5)
        save_record(root, step, **{**values, "validation_images": [{"name": "street.png", **image}]})


def kept_exactly(found: ReadBack) -> str:
    expected = {(step, tag): a_full_record(step)[key] for step in STEPS for key, tag in tags().items()}
    return how_exactly({at: found.numbers.get(at[0], {}).get(at[1]) for at in expected}, expected)


def tags() -> dict[str, str]:
    return {**TRAINING_TAGS, **VALIDATION_TAGS}


def how_exactly(found: dict[tuple[int, str], float | None], expected: dict[tuple[int, str], float]) -> str:
    if found == expected:
        return "exact"
    if found == {at: struct.unpack("f", struct.pack("f", value))[0] for at, value in expected.items()}:
        return "32 bits"
    return "lost"


def nested(found: ReadBack, tag: str, value: float) -> str:
    return how_exactly(
        {(step, tag): found.numbers.get(step, {}).get(tag) for step in STEPS}, {(step, tag): value for step in STEPS}
    )


def time_kept(found: ReadBack) -> str:
    if [found.times[step] for step in STEPS] == [AT + step for step in STEPS]:
        return "exact"
    return (
        "milliseconds" if [found.times[step] for step in STEPS] == [round(AT + step, 3) for step in STEPS] else "lost"
    )


def test_the_table_has_every_tracker_and_every_row_is_tested(repository: Path) -> None:
    table = table_of((repository / "docs" / "records.md").read_text(), "of a run")

    assert set(table) == {"numbers at their steps", "times", "activity of layers", "values of ranks", *TEXTS}
    assert all(list(cells) == list(TRACKERS) for cells in table.values())


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_keeps_what_the_table_says_and_loses_the_rest(
    repository: Path, tmp_path: Path, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "out"))  # read when the library is imported
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    pytest.importorskip(PACKAGES.get(tracker, tracker))
    save_run(tmp_path / "demo")
    where = place(tracker, tmp_path / "out")
    assert exit_code(["stats", "push", str(tmp_path / "demo"), "--to", tracker, "--where", where]) == 0
    found = read_back(tracker, tmp_path / "out")

    of_tracker = {
        row: cells[tracker]
        for row, cells in table_of((repository / "docs" / "records.md").read_text(), "of a run").items()
    }
    assert of_tracker == {
        "numbers at their steps": kept_exactly(found),
        "times": time_kept(found),
        "activity of layers": nested(found, "activity/Forward 1", 1.6),
        "values of ranks": nested(found, "rank/1/own_seconds", 1.4),
        **{row: "kept" if text in found.text else "lost" for row, text in TEXTS.items()},
    }

"""What `leitstand stats import-tensorboard` makes of the event files that the trainer itself writes."""

from pathlib import Path

import pytest

from ddp.recording.trackers.tensorboard import TensorBoard
from service.cli import exit_code
from service.run.records.history import Records
from tests.service.harness.pushed_records import ACTIVITY, a_full_record


def test_records_come_back_from_the_trainers_event_files_and_a_rollback_hides_what_it_left(tmp_path: Path) -> None:
    tracker = TensorBoard(tmp_path / "logs", has_scalars=True, has_images=False)
    tracker.start(0)
    for step in (500, 1000, 1500):
        tracker.log_point(step, 1e9 + step, a_full_record(step))
        tracker.validation(step, 1e9 + step, a_full_record(step), ())
    tracker.resume_from(500)
    tracker.validation(900, 2e9, a_full_record(900, quality_ki_value=0.25), ())
    tracker.close()

    assert exit_code(["stats", "import-tensorboard", str(tmp_path / "logs"), "--out", str(tmp_path / "run")]) == 0
    first, second = Records(tmp_path / "run")
    assert (first.step, second.step) == (500, 900)
    assert second.values["quality_ki_value"] == 0.25
    assert second.values["total_loss_value"] == pytest.approx(a_full_record(500)["total_loss_value"])
    assert first.values["layer_activity_raw_map"] == pytest.approx(ACTIVITY)
    assert first.values["last_update_time"] == 1e9 + 500

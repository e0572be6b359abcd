"""What the trainer's parts tell with every heartbeat, gathered; and what of it outlives the trainer."""

import shutil
from pathlib import Path

from ddp.recording.trainer_stats import TrainerStatsSource, previous_stats
from service.run.directory import RunDirectory
from service.run.ledger.time_spent import Activity, TimeSpent
from service.run.trainer_stats import TrainerStats
from service.store.store import Store

SPENT = TimeSpent(1.7e9, 1.7e9 + 9, 5, 1.7e9 + 2, dict.fromkeys(Activity, 1.5))


def test_the_parts_facts_and_the_disk_are_told_together(tmp_path: Path) -> None:
    told: TrainerStats = {"checkpoint_step": 5, "checkpoints_written": 1}
    facts = TrainerStatsSource(RunDirectory(tmp_path), {}, True, lambda: told, lambda: SPENT).current()

    assert facts["has_perceptual"] is True
    assert TimeSpent.parse(facts["time_spent"]) == SPENT
    assert (facts["checkpoint_step"], facts["checkpoints_written"]) == (5, 1)
    assert facts["disk_bytes"] == shutil.disk_usage(tmp_path).total
    assert 0 < facts["disk_free_bytes"] <= facts["disk_bytes"]


def test_the_last_checkpoint_of_an_earlier_trainer_stays_the_last_until_there_is_another(tmp_path: Path) -> None:
    store = Store(tmp_path / "leitstand.db", create=True)
    assert previous_stats(store, "run") == {}
    store.open_run("run", {})
    store.runs.update("run", facts={"checkpoint_step": 5, "checkpoints_written": 3, "has_perceptual": True})
    own: TrainerStats = {"checkpoints_written": 0}
    source = TrainerStatsSource(RunDirectory(tmp_path), previous_stats(store, "run"), False, lambda: own, lambda: SPENT)
    store.close()

    assert source.current()["checkpoint_step"] == 5
    assert source.current()["checkpoints_written"] == 0
    assert source.current()["has_perceptual"] is False
    own["checkpoint_step"] = 10
    assert source.current()["checkpoint_step"] == 10


def test_a_directory_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    source = TrainerStatsSource(
        RunDirectory(tmp_path / "gone"), {}, False, lambda: {"checkpoint_step": 5}, lambda: SPENT
    )

    facts = source.current()

    assert facts == {"has_perceptual": False, "checkpoint_step": 5, "time_spent": SPENT.as_dict()}

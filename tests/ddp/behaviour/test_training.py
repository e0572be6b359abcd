"""Real trainings on real gloo ranks, steered through the store as the API and the keyboard do."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import jsonschema
import psutil
import pytest
import torch

from service.commands import CommandState, Kind
from service.run.record import KEYS, list_records
from service.run.record_schema import record_schema
from service.run.state import RunState
from tests.ddp.harness.launching import Launch, settings, torchrun
from tests.ddp.harness.training import Eventually, Training
from tests.harness.descendants import descendants

HAS_GPU = torch.cuda.is_available()


def test_a_run_is_steered_stopped_and_resumed_with_every_record_whole(
    train: Callable[..., Training], tmp_path: Path, eventually: Eventually
) -> None:
    """The whole path in one run, because starting ranks is what costs time."""
    training = train(2, MAX_STEPS=1_000_000, VAL_STEP_EVERY=200, CHECKPOINT_EVERY=1000)
    training.wait_for_step(1)

    # Two people ask for a validation at once: one validation, one record, both done.
    first, second = training.ask(Kind.VALIDATE, Kind.VALIDATE)
    assert first.state is second.state is CommandState.DONE
    assert first.result is not None
    assert first.step is not None
    assert [(item["rank"], item["outcome"]) for item in first.result["ranks"]] == [(0, "done"), (1, "done")]
    assert all(first.created_at <= item["began_at"] <= (first.finished_at or 0) for item in first.result["ranks"])
    manual = training.record(first.step)
    assert (manual["trigger"], manual["command_id"]) == ("manual", first.id)

    # Paused: the step stands still, commands are still served, pausing again changes nothing.
    (paused,) = training.ask(Kind.PAUSE)
    assert paused.state is CommandState.DONE
    run = training.run()
    assert run is not None
    assert (run.state, run.reported_state(run.heartbeat_at)) == (RunState.PAUSED, RunState.PAUSED)
    again, while_paused, shared, saved = training.ask(Kind.PAUSE, Kind.VALIDATE, Kind.VALIDATE, Kind.CHECKPOINT)
    assert [item.state for item in (again, while_paused, shared, saved)] == [CommandState.DONE] * 4
    assert {item.step for item in (paused, again, while_paused, shared, saved)} == {paused.step}
    assert training.record(paused.step or 0)["training_paused"] is True
    assert saved.result is not None
    assert (training.root / "checkpoints" / saved.result["checkpoint"] / "manifest.json").exists()

    (resumed,) = training.ask(Kind.RESUME)
    assert resumed.state is CommandState.DONE
    training.wait_for_step((paused.step or 0) + 200)  # past a scheduled validation

    (stopped,) = training.ask(Kind.STOP)
    assert training.process.wait(timeout=30) == 0
    assert stopped.state is CommandState.DONE
    ended = training.run()
    assert ended is not None
    assert ended.state is RunState.STOPPED
    assert (training.root / "checkpoints" / "latest").resolve().name == f"step_{stopped.step:07d}"

    check_records(training.root)
    log = (training.root / "training.log").read_text()
    assert f"📊 Statistics saved: Statistik_{first.step}.json" in log
    history = [event["kind"] for event in training.history()]
    assert [kind for kind in history if kind in {"started", "paused", "resumed"}] == ["started", "paused", "resumed"]

    resume_and_finish(train, training, stopped.step or 0, manual["run_id"])


def check_records(root: Path) -> None:
    records = list_records(root)
    assert len(records) >= 3
    steps = [step for step, _ in records]
    assert steps == sorted(steps)
    for step, path in records:
        content = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN and Infinity are not JSON
        jsonschema.validate(content, record_schema())
        assert list(content) == list(KEYS)
        assert content["step_current"] == step
        assert content["world_size"] == 2
        assert [row["rank"] for row in content["per_rank"]] == [0, 1]
        assert path.read_bytes().startswith(b'{\n  "step_current"')
    assert {json.loads(path.read_text())["trigger"] for _, path in records} == {"manual", "schedule"}


def resume_and_finish(train: Callable[..., Training], before: Training, step: int, run_id: str) -> None:
    """A start without --resume is refused and changes nothing; with it, counting goes on, also on other ranks."""
    kept = {path.name: path.read_bytes() for _, path in list_records(before.root)}
    refused = train(2, output="refused.txt")
    assert refused.process.wait(timeout=60) != 0
    said = (before.root.parent / "refused.txt").read_text()
    assert "already holds a run: continue it with --resume" in said
    assert "another DATA_ROOT. DATA_ROOT comes from --set.\n" in said
    assert {path.name: path.read_bytes() for _, path in list_records(before.root)} == kept

    best = max(json.loads(content)["best_quality_ever"] for content in kept.values())
    finished = train(3, "--resume", output="resumed.txt", MAX_STEPS=step + 7, VAL_STEP_EVERY=200)
    assert finished.process.wait(timeout=60) == 0, (before.root.parent / "resumed.txt").read_text()
    final = finished.record(step + 7)
    assert (final["trigger"], final["run_id"], final["world_size"]) == ("final", run_id, 3)
    assert final["samples_seen"] == step * 4 + 7 * 6
    assert final["best_quality_ever"] >= best
    run = finished.run()
    assert run is not None
    assert run.state is RunState.FINISHED


def test_a_signal_to_one_rank_alone_saves_and_leaves_on_all_ranks_with_143(
    train: Callable[..., Training], tmp_path: Path
) -> None:
    training = train(2, MAX_STEPS=1_000_000, VAL_STEP_EVERY=100_000)
    training.wait_for_step(3)
    by_rank = training.ranks()
    assert sorted(by_rank) == [0, 1]

    os.kill(by_rank[1].pid, signal.SIGTERM)
    assert training.process.wait(timeout=60) != 0  # torchrun's own code; it names the ranks' in its report

    assert re.search(r"exitcode\s*: 143", (tmp_path / "output.txt").read_text())
    run = training.run()
    assert run is not None
    assert run.state is RunState.STOPPED
    assert (training.root / "checkpoints" / "latest" / "manifest.json").exists()
    assert not any(child.is_running() for child in by_rank.values())


def test_a_signal_to_the_launcher_saves_and_leaves_also_with_loader_processes(train: Callable[..., Training]) -> None:
    """torchrun signals every process of a rank's group, its loaders too."""
    training = train(2, MAX_STEPS=1_000_000, VAL_STEP_EVERY=100_000, NUM_WORKERS=1)
    training.wait_for_step(3)
    everything = descendants(training.process.pid)
    assert len(everything) >= 4

    training.process.terminate()
    training.process.wait(timeout=60)

    run = training.run()
    assert run is not None
    assert (run.state, run.reason) == (RunState.STOPPED, "left after a signal; ready to resume")
    assert (training.root / "checkpoints" / "latest" / "manifest.json").exists()
    assert "forcefully" not in training.output, "torchrun killed a rank that waited for its loaders for 30 s"
    _, alive = psutil.wait_procs(everything, timeout=10)
    assert alive == []


def test_ranks_of_a_killed_launcher_save_and_leave(train: Callable[..., Training], eventually: Eventually) -> None:
    training = train(2, MAX_STEPS=1_000_000, VAL_STEP_EVERY=100_000)
    training.wait_for_step(3)
    ranks = list(training.ranks().values())
    assert len(ranks) == 2

    training.process.kill()
    eventually(lambda: not any(rank.is_running() for rank in ranks), what="the end of the orphaned ranks")

    run = training.run()
    assert run is not None
    assert run.state is RunState.STOPPED
    assert (training.root / "checkpoints" / "latest" / "manifest.json").exists()
    assert "TCPStore" not in training.output  # torch's words on the store that went with the launcher


def test_one_process_trains_without_a_launcher_and_accumulates(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", MAX_STEPS=4, ACCUMULATION_STEPS=3)
    process = launch([*torchrun(1)[:1], "-m", "ddp", *values])
    assert process.wait(timeout=60) == 0, (tmp_path / "output.txt").read_text()

    record = json.loads((tmp_path / "run" / "Statistik_4.json").read_text())
    assert (record["samples_seen"], record["world_size"], record["trigger"]) == (24, 1, "final")
    jsonschema.validate(record, record_schema())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"DATASET_ROOT": "/nowhere"}, "/nowhere/Patches/GT"),
        ({"VAL_STEP_EVRY": 5}, "Did you mean VAL_STEP_EVERY?"),
        ({"BATCH_SIZE": 0}, "BATCH_SIZE is 0, but must be between 1 and 4096"),
        pytest.param({"DEVICE": "cuda"}, "set DEVICE=cpu", marks=pytest.mark.skipif(HAS_GPU, reason="has a GPU")),
        ({"SCALE": 2}, "Patches"),
        ({"REPLAY_FILE": "/nowhere.json"}, "The replay /nowhere.json cannot be read"),
        ({"WORKLOAD": "ddp.nothing"}, "WORKLOAD is 'ddp.nothing'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2_and_writes_nothing(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, values: dict[str, object], sentence: str
) -> None:
    root = tmp_path / "run"
    chosen = settings(**{"DATASET_ROOT": tiny_dataset, "DATA_ROOT": root, **values})
    process = launch([*torchrun(1)[:1], "-m", "ddp", *chosen])

    assert process.wait(timeout=60) == 2
    output = (tmp_path / "output.txt").read_text()
    assert output.startswith("Error: ")
    assert sentence in output
    assert output.count("\n") == 1
    assert not root.exists()


def test_a_run_directory_that_fills_up_during_the_start_is_one_sentence_on_every_rank(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    root = tmp_path / "run"
    (root / "config.json").mkdir(parents=True)  # what is to become a file cannot be written, as on a full disk
    chosen = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=root)
    process = launch([*torchrun(1)[:1], "-m", "service.launcher.torchrun", *torchrun(2)[3:], "-m", "ddp", *chosen])

    assert process.wait(timeout=60) == 2
    output = (tmp_path / "output.txt").read_text()
    assert output.count("Error: ") == 1
    assert "cannot be written" in output
    assert "Traceback" not in output


def test_records_before_the_oldest_checkpoint_are_packed_and_thinned_out_by_setting(
    train: Callable[..., Training], eventually: Eventually
) -> None:
    first = train(1, MAX_STEPS=8, VAL_STEP_EVERY=1, CHECKPOINT_EVERY=4, SAVE_BEST="false", KEEP_CHECKPOINTS=1)
    assert first.end() == 0, first.output
    run_id = first.record(8)["run_id"]
    best = max(range(1, 9), key=lambda step: float(first.record(step)["quality_ki_value"]))
    keeping = {"PACK_RECORDS": 1, "KEEP_RECORDS_EVERY": 4, "KEEP_RECORDS": 1}
    second = train(
        1, "--resume", output="second.txt", MAX_STEPS=1_000_000, VAL_STEP_EVERY=1_000_000, CHECKPOINT_EVERY=1_000_000,
        KEEP_CHECKPOINTS=1, SAVE_BEST="false", **keeping,
    )  # fmt: skip
    archive = second.root / "archive" / f"{run_id}-pruned"
    kept = {4, 8, best}

    def is_done() -> bool:
        """Whether each record has its place; while one is packed, both its files are there."""
        places = [[step for step, _ in list_records(folder)] for folder in (second.root, archive) if folder.is_dir()]
        return places == [sorted(kept), sorted(set(range(1, 9)) - kept)] and bool(list(second.root.glob("*.gz")))

    eventually(is_done, seconds=90, what="packed records, and the others in the archive")
    second.ask(Kind.STOP)
    assert second.end() == 0, second.output

"""Real ranks meet with mishaps: bad numbers, a loader that hangs, a rank that is killed, signals at bad times."""

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from ddp.checkpoint.folder import checkpoint_name
from service.commands import CommandState, Kind
from service.config.settings import RunConfig
from service.launcher.termination import DUPLICATE_SECONDS
from service.run.record import list_records
from service.run.state import LEFT_BY_SIGNAL, RunState
from service.store.store import Store
from tests.ddp.harness.launching import Launch, settings, write_pair
from tests.ddp.harness.training import Eventually, Training
from tests.postgres import PostgresService

Train = Callable[..., Training]
GATED = {"WORKLOAD": "tests.ddp.harness.gated_workload", "PATCH_SIZE": 8}


def test_a_bad_step_is_skipped_and_a_row_of_them_rolls_the_run_back_at_a_lower_learning_rate(train: Train) -> None:
    run = train(
        2, MAX_STEPS=60, VAL_STEP_EVERY=20, CHECKPOINT_EVERY=10, ADAPT_EVERY=2, NONFINITE_LIMIT=3, SAVE_BEST="false",
        LOG_EVERY=6, environment={"TEST_EVENTS": "nan@0:5,nan*3@1:42,slow*60@1:1"}, **GATED,
    )  # fmt: skip
    assert run.end() == 0, run.output

    assert run.events("not finite")[0]["details"]["steps"] == [5]
    (rollback,) = run.events("rollback")
    details = rollback["details"]
    assert (details["checkpoint"], details["branch_id"], details["LR_SCALE"]) == ("step_0000040", 1, 0.5)
    assert details["reason"] == "3 steps in a row, from step 42 on, were not finite"
    record = run.record(60)
    assert (record["skipped_steps"], record["branch_id"], record["lr_phase_name"]) == (4, 1, "manual")
    assert record["total_loss_value"] is not None
    assert record["samples_seen"] == 60 * 4  # as if it had never been beyond step 40

    # The same run has a slow rank: it is named, on the console and in the history.
    assert "Rank 1 is slow: " in run.output
    assert run.events("slow rank")[0]["details"]["rank"] == 1


def test_numbers_that_stay_bad_end_the_run_with_one_sentence_after_some_rollbacks(train: Train) -> None:
    run = train(
        1, MAX_STEPS=60, CHECKPOINT_EVERY=10, VAL_STEP_EVERY=1000, ADAPT_EVERY=1, NONFINITE_LIMIT=2,
        environment={"TEST_EVENTS": "bad*4@0:13"}, **GATED,
    )  # fmt: skip
    assert run.end() != 0

    assert "Error: 2 steps in a row, from step 13 on, were not finite, after 5 rollbacks" in run.output
    assert len(run.events("rollback")) == 5
    row = run.run()
    assert row is not None
    assert (row.state, row.step) == (RunState.FAILED, 15)


def test_settings_and_rollback_are_carried_out_on_all_ranks_or_refused_with_the_reason(train: Train) -> None:
    rare = {"VAL_STEP_EVERY": 10**6, "CHECKPOINT_EVERY": 10**6, "SAVE_BEST": "false"}
    run = train(2, MAX_STEPS=10**6, LOG_EVERY=10**6, **rare)
    run.wait_for_step(5)

    saved = run.ended(run.submit(Kind.CHECKPOINT))
    assert saved.result is not None
    changed = run.ended(run.submit(Kind.SET, {"LR_SCALE": 0.25, "L1_WEIGHT": 0.5, "LOG_EVERY": 7}))
    assert (changed.state, [rank["outcome"] for rank in (changed.result or {})["ranks"]]) == (
        CommandState.DONE, ["done", "done"],
    )  # fmt: skip
    refused = run.ended(run.submit(Kind.SET, {"MIN_LR": 0.9}))
    assert (refused.state, "MIN_LR is 0.9" in str(refused.reason)) == (CommandState.REJECTED, True)
    missing = run.ended(run.submit(Kind.ROLLBACK, {"checkpoint": "step_7777777"}))
    assert (missing.state, "step_7777777" in str(missing.reason)) == (CommandState.REJECTED, True)

    validated = run.ended(run.submit(Kind.VALIDATE))
    record = run.record(validated.step or 0)
    assert record["l1_weight_current"] == pytest.approx(0.5)
    assert record["lr_phase_name"] == "manual"

    back = run.ended(run.submit(Kind.ROLLBACK, {"checkpoint": saved.result["checkpoint"]}))
    assert (back.state, back.step) == (CommandState.DONE, saved.step)
    assert not (run.root / f"Statistik_{validated.step}.json").exists()
    (archived,) = (run.root / "archive").glob(f"*-branch-0/Statistik_{validated.step}.json")
    assert json.loads(archived.read_text())["step_current"] == validated.step
    # The settings are those of the saved state again.
    again = run.ended(run.submit(Kind.VALIDATE))
    assert run.record(again.step or 0)["l1_weight_current"] == pytest.approx(0.6)
    assert run.record(again.step or 0)["branch_id"] == 1
    # Back to the very step of a record that was made after the state: it goes to the archive, too.
    paused, _ = run.ask(Kind.PAUSE, Kind.CHECKPOINT)
    run.ask(Kind.VALIDATE)
    run.ended(run.submit(Kind.ROLLBACK, {"checkpoint": "latest"}))
    run.ask(Kind.VALIDATE)
    assert run.record(paused.step or 0)["branch_id"] == 2
    (left_behind,) = (run.root / "archive").glob(f"*-branch-1/Statistik_{paused.step}.json")
    assert json.loads(left_behind.read_text())["branch_id"] == 1
    run.ask(Kind.RESUME)

    # What is changed survives a resume; the start wins where it says something else than it did before.
    run.ended(run.submit(Kind.SET, {"LR_SCALE": 0.125, "VAL_STEP_EVERY": 5000}))
    stopped = run.ended(run.submit(Kind.STOP))
    assert run.end() == 0
    last = (stopped.step or 0) + 3
    resumed = train(2, "--resume", output="resumed.txt", MAX_STEPS=last, VAL_STEP_EVERY=2000, CHECKPOINT_EVERY=10**6)
    assert resumed.end() == 0, resumed.output
    assert resumed.record(last)["lr_phase_name"] == "manual"
    assert "VAL_STEP_EVERY" in resumed.output
    assert "LR_SCALE" not in resumed.output


def test_ranks_that_waited_too_long_for_another_say_for_which_one(
    train: Train, tmp_path: Path, eventually: Eventually
) -> None:
    release = tmp_path / "release"
    run = train(
        2,
        COLLECTIVE_TIMEOUT_SECONDS=10,
        STALL_SECONDS=8,
        **GATED,
        environment={"TEST_EVENTS": "hang@1:1", "TEST_RELEASE": str(release)},
    )

    def has_failed() -> bool:
        row = run.run()
        return row is not None and row.state is RunState.FAILED

    eventually(has_failed, seconds=60, what="the end of the waiting")
    release.touch()
    assert run.end() == 1

    row = run.run()
    assert row is not None
    sentence = (
        r"The ranks have waited for each other for 10 s \(COLLECTIVE_TIMEOUT_SECONDS\)\. Rank 1 \(.+\) has been in "
        r"stage data for \d+ s at step 1; rank 0 waits for it in all-reduce\."
    )
    assert re.fullmatch(sentence, row.reason or ""), row.reason
    assert f"Rank 0 ends: {row.reason}" in run.output
    assert "gloo/transport" not in run.output


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("unusable", "the picture of this micro-batch is of no use; take it out."),
        ("crash", "Rank 1 failed: ZeroDivisionError: divided by what is not there"),
        ("kill", "The process of another rank has ended; its own output, and that of the launcher, say why."),
    ],
)
def test_why_another_rank_failed_is_said_by_rank_0_and_kept_as_the_runs_reason(
    train: Train, event: str, reason: str
) -> None:
    run = train(2, environment={"TEST_EVENTS": f"{event}@1:4"}, **GATED)

    assert run.end() != 0

    row = run.run()
    assert row is not None
    assert (row.state, row.reason) == (RunState.FAILED, reason)
    assert event == "kill" or f"Another rank has failed: {reason}" in run.output
    assert "gloo/transport" not in (row.reason or "")


def test_a_rank_that_hangs_is_named_with_its_stage_and_its_stack(
    train: Train, tmp_path: Path, eventually: Eventually
) -> None:
    release = tmp_path / "release"
    run = train(
        2,
        MAX_STEPS=10**6,
        VAL_STEP_EVERY=10**6,
        environment={"TEST_EVENTS": "hang@1:60", "TEST_RELEASE": str(release)},
        **GATED,
    )
    run.wait_for_step(59)
    eventually(lambda: run.events("stalled"), seconds=50, what="the news of a stall")

    (stall,) = run.events("stalled")
    details = stall["details"]
    assert (details["rank"], details["stage"]) == (1, "data")
    assert 2 < details["limit_seconds"] < RunConfig().stall_seconds, "it is learnt"
    assert "at step 60; rank 0 waits for it in all-reduce" in details["reason"]
    assert [(group["ranks"], group["where"]) for group in details["groups"]] == [
        ([1], "wait_for, gated_workload.py"), ([0], "_forward_backward, stepper.py"),
    ]  # fmt: skip
    eventually((run.root / details["stacks_file"]).exists, what="the file of all stacks")
    assert "hang_until_released" in (run.root / details["stacks_file"]).read_text()
    row = run.run()
    assert row is not None
    assert row.reason == stall["details"]["reason"]
    waiting, hanging = run.store.ranks.find(row.id)
    assert (waiting.stage, hanging.stage) == ("all-reduce", "data")
    assert hanging.stack is not None
    assert "hang_until_released" in hanging.stack

    release.touch()
    eventually(
        lambda: any(event["details"]["rank"] == 1 for event in run.events("going on")), what="the news of its end"
    )
    run.ask(Kind.STOP)
    assert run.end() == 0, run.output


def test_torchruns_restart_heals_a_killed_rank_and_loses_no_record(train: Train) -> None:
    run = train(
        2, launcher=["--max-restarts=2"], MAX_STEPS=60, VAL_STEP_EVERY=10, CHECKPOINT_EVERY=20,
        environment={"TEST_EVENTS": "kill@1:47"}, NUM_WORKERS=1, **GATED,
    )  # fmt: skip
    assert run.end() == 0, run.output

    assert [event["step"] for event in run.events("started")] == [0, 46]
    assert "Rank 0 ends, because another rank is gone." in run.output
    assert [step for step, _ in list_records(run.root)] == [10, 20, 30, 40, 50, 60]
    assert not list(run.root.glob(".tmp-*"))


def test_a_restart_after_an_accident_keeps_a_pause_and_what_is_queued(train: Train, eventually: Eventually) -> None:
    run = train(2, launcher=["--max-restarts=1"], MAX_STEPS=10**6, VAL_STEP_EVERY=10**6, CHECKPOINT_EVERY=5)
    run.wait_for_step(20)
    (paused,) = run.ask(Kind.PAUSE)
    queued = run.submit(Kind.VALIDATE, apply_at_step=10**5)
    run.ranks()[1].kill()
    eventually(lambda: len(run.events("started")) == 2, seconds=60, what="the restart")
    eventually(lambda: run.is_at(0), what="the restarted run")

    row = run.run()
    assert row is not None
    assert (row.state, row.step) == (RunState.PAUSED, paused.step)
    assert run.command(queued).state is CommandState.QUEUED
    (stopped,) = run.ask(Kind.STOP)
    assert (run.end(), stopped.state, stopped.step) == (0, CommandState.DONE, row.step)


def test_a_restart_keeps_a_pause_though_the_store_is_away(
    train: Train, postgres: PostgresService, store_url: str, eventually: Eventually
) -> None:
    values = {"MAX_STEPS": 10**6, "VAL_STEP_EVERY": 10**6, "CHECKPOINT_EVERY": 5}
    run = train(2, launcher=["--max-restarts=1"], environment={"STORE_URL": store_url}, **values)
    with closing(Store(store_url)) as run.store:
        run.wait_for_step(20)
        (paused,) = run.ask(Kind.PAUSE)
        postgres.stop()
        run.ranks()[1].kill()
        eventually(lambda: "unseen until it is back" in run.output, seconds=90, what="the restart")
        postgres.start()
        eventually(lambda: len(run.events("started")) == 2, seconds=60, what="the news of it")
        (stopped,) = run.ask(Kind.STOP)

        assert (run.end(), stopped.state) == (0, CommandState.DONE)
        assert stopped.step is not None
        assert stopped.step <= (paused.step or 0)


def test_a_rank_that_was_asked_to_leave_is_not_started_again(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually
) -> None:
    """Neither by our launcher, nor for long by plain torchrun, which takes it for an accident."""
    for name, module in (("ours", "service.launcher.torchrun"), ("plain", "torch.distributed.run")):
        values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / name, MAX_STEPS=10**6, VAL_STEP_EVERY=10**6)
        options = ["--standalone", "--nproc-per-node=2", "--max-restarts=1"]
        process = launch([sys.executable, "-m", module, *options, "-m", "ddp", *values], output=f"{name}.txt")
        run = Training(process, tmp_path / name, tmp_path / f"{name}.txt", eventually)
        run.wait_for_step(3)
        os.kill(run.ranks()[1].pid, signal.SIGTERM)

        assert run.end() == (143 if name == "ours" else 1), run.output
        row = run.run()
        assert row is not None
        assert (row.state, row.reason) == (RunState.STOPPED, LEFT_BY_SIGNAL)
        assert len(run.events("started")) == 1


def test_a_signal_during_a_validation_leaves_at_once_and_the_validation_is_made_up_for(
    train: Train, tmp_path: Path, eventually: Eventually
) -> None:
    """The validation is the slow one of the gated workload: it waits for a gate at its first image."""
    start, gate = tmp_path / "start.gate", tmp_path / "validation.gate"
    values = {"MAX_STEPS": 30, "VAL_STEP_EVERY": 20, "CHECKPOINT_EVERY": 1000, **GATED}
    run = train(2, environment={"TEST_GATE": str(start), "TEST_VALIDATION_GATE": str(gate)}, **values)
    run.wait_for_step(0)
    caught = run.submit(Kind.CHECKPOINT, apply_at_step=20)
    eventually(lambda: run.has_begun(caught), what="the beginning of a command")
    start.touch()
    run.wait_for_step(20)
    os.kill(run.ranks()[0].pid, signal.SIGTERM)
    gate.touch()
    run.end()
    row = run.run()
    assert row is not None
    assert (row.state, row.reason, row.step) == (RunState.STOPPED, LEFT_BY_SIGNAL, 20), run.output
    assert list_records(run.root) == []
    assert (run.command(caught).state, run.command(caught).reason) == (CommandState.FAILED, "the run ended (stopped)")

    resumed = train(2, "--resume", output="resumed.txt", **values)
    assert resumed.end() == 0, resumed.output
    assert [step for step, _ in list_records(run.root)] == [20, 30]
    assert resumed.record(20)["trigger"] == "schedule"


def test_a_rank_that_runs_out_of_memory_says_which_batch_fits_and_ends_all_with_2(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", BATCH_SIZE=8, MAX_STEPS=9, **GATED)
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    process = launch(
        [sys.executable, "-m", "service.launcher.torchrun", *options, "-m", "ddp", *values],
        environment={"TEST_MEMORY": "1:2"},
    )
    assert process.wait(timeout=90) == 2

    output = (tmp_path / "output.txt").read_text()
    assert "Error: Rank 1 ran out of memory on cpu with BATCH_SIZE 8; 2 fits: " in output
    assert "set BATCH_SIZE=2 and ACCUMULATION_STEPS=4" in output
    assert output.count("Error: ") == 1
    assert "Traceback" not in output
    row = Store(tmp_path / "run" / "leitstand.db").runs.latest()
    assert row is not None
    assert row.state is RunState.FAILED
    assert "Rank 1 ran out of memory" in str(row.reason)


@pytest.mark.parametrize(
    ("events", "workload", "sentence", "starts"),
    [
        ("unhealed@1:3", GATED["WORKLOAD"], "Rank 1 failed after step 2 (OSError: caf\\xe9.png, long long", 2),
        ("", "tests.ddp.harness.rank_programs.unbuildable", "Rank 1 failed at its start (ValueError: no network", 0),
    ],
)
def test_an_error_that_comes_again_after_a_restart_is_not_tried_a_third_time(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, events: str, workload: str, sentence: str, starts: int
) -> None:
    values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", MAX_STEPS=9, WORKLOAD=workload)
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts=9"]
    process = launch(
        [sys.executable, "-m", "service.launcher.torchrun", *options, "-m", "ddp", *values],
        environment={"TEST_EVENTS": events},
    )

    assert process.wait(timeout=120) == 2
    output = (tmp_path / "output.txt").read_text()
    assert f"Error: {sentence}" in output
    assert "as it did before the restart" in output
    assert output.count("(restart 1 of 9)") == 1
    assert "(restart 2 of 9)" not in output
    assert "Traceback" in output
    assert len(re.findall("(?:Starting|Resuming) at step", output)) == starts
    if starts:
        row = Store(tmp_path / "run" / "leitstand.db").runs.latest()
        assert row is not None
        assert row.state is RunState.FAILED
        assert "as it did before the restart" in str(row.reason)
        assert len(str(row.reason)) < 2000


def test_a_validation_image_that_does_not_fit_is_scored_in_tiles_with_the_same_result(
    train: Train, tmp_path: Path
) -> None:
    for index in range(4):
        write_pair(tmp_path / "set" / "Patches", f"train_{index}", 36, 36, seed=index)
    write_pair(tmp_path / "set" / "Val", "large", 270, 300, seed=9)
    values = {"MAX_STEPS": 4, "VAL_STEP_EVERY": 10, "DATASET_ROOT": tmp_path / "set", **GATED}
    whole = train(1, root="whole", output="whole.txt", **values)
    tiled = train(1, root="tiled", output="tiled.txt", environment={"TEST_IMAGE": "0:8000"}, **values)
    assert (whole.end(), tiled.end()) == (0, 0), tiled.output

    assert "An image of 100x90 LR pixels does not fit into memory as a whole, but in tiles of 64." in tiled.output
    for key in ("psnr_ki_db", "ssim_ki", "validation_loss_value"):
        assert tiled.record(4)[key] == pytest.approx(whole.record(4)[key], rel=1e-5), key


def test_a_validation_image_that_fits_in_no_way_ends_all_ranks_with_2_and_costs_no_step(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", MAX_STEPS=9, VAL_STEP_EVERY=4,
                      CHECKPOINT_EVERY=100, **GATED)  # fmt: skip
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    command = [sys.executable, "-m", "service.launcher.torchrun", *options, "-m", "ddp", *values]
    process = launch(command, environment={"TEST_IMAGE": "1:0"})
    assert process.wait(timeout=90) == 2

    output = (tmp_path / "output.txt").read_text()
    sentence = "Error: Validation image val_1.png (36x48 pixels) does not fit into the memory of rank 1 (cpu)"
    assert f"{sentence}, not even in tiles of 64 LR pixels: " in output
    assert output.count("Error: ") == 1
    assert output.count("Starting at step 0") == 1
    assert "Traceback" not in output
    row = Store(tmp_path / "run" / "leitstand.db").runs.latest()
    assert row is not None
    assert row.state is RunState.FAILED
    assert "val_1.png (36x48 pixels)" in str(row.reason)

    resumed = launch([*command, "--resume"], output="resumed.txt")
    assert resumed.wait(timeout=90) == 0
    assert "Resuming at step 4" in (tmp_path / "resumed.txt").read_text()
    assert [step for step, _ in list_records(tmp_path / "run")] == [4, 8, 9]


def test_a_checkpoint_of_another_network_is_refused_with_the_settings_that_differ(train: Train, tmp_path: Path) -> None:
    assert train(1, MAX_STEPS=5).end() == 0
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())

    refused = train(1, "--resume", output="refused.txt", N_FEATS=8, MAX_STEPS=9)

    assert refused.end() != 0
    assert (
        "Error: Checkpoint step_0000005 belongs to another network (n_feats 4 → 8); give the settings" in refused.output
    )
    assert sorted(path.name for path in (refused.root / "checkpoints").iterdir()) == kept


def test_a_second_ctrl_c_leaves_at_once_and_not_with_143(train: Train, tmp_path: Path, eventually: Eventually) -> None:
    """Without waiting for the step, which here would never end."""
    run = train(1, environment={"TEST_EVENTS": "hang@0:5", "TEST_RELEASE": str(tmp_path / "never")}, **GATED)
    run.wait_for_step(4)
    rank = run.ranks()[0]

    def has_ended_after_another_signal() -> bool:
        with suppress(psutil.NoSuchProcess):
            rank.send_signal(signal.SIGINT)  # signals within a second count as one
        return run.process.poll() is not None

    eventually(has_ended_after_another_signal, what="the end")

    assert "exitcode  : 130" in run.output


def test_repeated_signals_of_a_scheduler_during_a_long_step_end_in_a_saved_state_and_143(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually
) -> None:
    """Sent to the launcher and to the ranks, as a scheduler does that signals every process of a job."""
    release = tmp_path / "release"
    run = our_training(
        launch, tmp_path, tiny_dataset, eventually, TEST_EVENTS="hang@0:5,hang@1:5", TEST_RELEASE=str(release)
    )
    run.wait_for_step(4)
    begun_at = time.monotonic()

    def is_asked_for_long() -> bool:
        for process in (run.process, *run.ranks().values()):
            process.send_signal(signal.SIGTERM)
        return time.monotonic() - begun_at > 2 * DUPLICATE_SECONDS

    eventually(is_asked_for_long, what="signals further apart than those that count as one")
    release.touch()

    assert run.end() == 143, run.output
    assert_left_with_a_state(run)


@pytest.mark.parametrize(
    ("receiver", "number"),
    [("the launcher", signal.SIGUSR1), ("rank 0", signal.SIGUSR2), ("rank 1", signal.SIGQUIT)],
)
def test_an_announced_end_is_a_saved_state_and_143(
    launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually, receiver: str, number: signal.Signals
) -> None:
    run = our_training(launch, tmp_path, tiny_dataset, eventually)
    run.wait_for_step(3)
    os.kill(run.process.pid if receiver == "the launcher" else run.ranks()[int(receiver[-1])].pid, number)

    assert run.end() == 143, run.output
    assert_left_with_a_state(run)


def test_ranks_of_a_plain_torchrun_that_an_announcement_ends_save_and_leave(
    train: Train, tmp_path: Path, eventually: Eventually
) -> None:
    run = train(2, MAX_STEPS=10**6, VAL_STEP_EVERY=10**6, CHECKPOINT_EVERY=10**6, is_forked=False)
    run.wait_for_step(3)
    run.process.send_signal(signal.SIGUSR1)

    assert run.end() == -signal.SIGUSR1
    eventually(lambda: (row := run.run()) is not None and row.state is RunState.STOPPED, what="the end of the ranks")
    assert_left_with_a_state(run)


def our_training(launch: Launch, tmp_path: Path, dataset: Path, eventually: Eventually, **environment: str) -> Training:
    """Two ranks under our launcher, which reads the ranks' exit codes; no state is due before the end."""
    rare = {"MAX_STEPS": 10**6, "VAL_STEP_EVERY": 10**6, "CHECKPOINT_EVERY": 10**6}
    values = settings(**{"DATASET_ROOT": dataset, "DATA_ROOT": tmp_path / "run", **rare, **GATED})
    launcher = [sys.executable, "-m", "service.launcher.torchrun", "--standalone", "--nproc-per-node=2"]
    process = launch([*launcher, "-m", "ddp", *values], environment=environment)
    return Training(process, tmp_path / "run", tmp_path / "output.txt", eventually)


def assert_left_with_a_state(run: Training) -> None:
    row = run.run()
    assert row is not None
    assert (row.state, row.reason) == (RunState.STOPPED, LEFT_BY_SIGNAL), run.output
    assert (run.root / "checkpoints" / "latest").resolve().name == checkpoint_name(row.step)


def test_a_rank_that_waits_for_the_others_to_start_ends_at_once_when_asked(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    """Where it wants to meet the others, somebody listens who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        environment = {
            "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(silent.getsockname()[1]), "TORCHELASTIC_USE_AGENT_STORE": "True",
        }  # fmt: skip
        values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run")
        process = launch([sys.executable, "-m", "ddp", *values], environment=environment)
        connection, _ = silent.accept()
        process.terminate()

        assert process.wait(timeout=20) == -signal.SIGTERM
        connection.close()
    assert not (tmp_path / "run").exists()

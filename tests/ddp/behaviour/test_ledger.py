"""What the ledger says of a real training is what happened to it: a killed rank, a pause, a rollback, a dead trainer.

The ledger is read as the API reads it, and once more from a store that was made again from the run directory's files.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from service.commands import Command, Kind
from service.run.directory import RunDirectory
from service.run.ledger.answer import LedgerAnswer
from service.run.ledger.incident import Incident, IncidentKind, Recovery
from service.run.ledger.time_spent import TimeUse
from service.run.state import RunState
from service.store.rebuild import rebuild
from service.store.store import RunRow, Store
from tests.ddp.harness.launching import Launch, settings
from tests.ddp.harness.training import Eventually, Training
from tests.harness.descendants import kill_family

Start = Callable[..., Training]
CLOCKS_SECONDS = 0.5
"""How far sums of the monotonic clock may be from differences of the other one, on a machine that sets it."""


@pytest.fixture
def start(launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually) -> Start:
    """Start two ranks of an endless training under `leitstand train`'s launcher, which would restart them twice."""

    def begin(*, output: str, environment: Mapping[str, str] | None = None) -> Training:
        values = settings(
            DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", WORKLOAD="tests.ddp.harness.gated_workload",
            MAX_STEPS=10**6, VAL_STEP_EVERY=16, CHECKPOINT_EVERY=20, KEEP_CHECKPOINTS=0, STALL_SECONDS=600,
        )  # fmt: skip
        options = ["--standalone", "--nproc-per-node=2", "--max-restarts=2", "-m", "ddp", "--resume", *values]
        command = [sys.executable, "-m", "service.launcher.torchrun", *options]
        process = launch(command, output=output, environment=environment)
        return Training(process, tmp_path / "run", tmp_path / output, eventually)

    return begin


def row_of(run: Training) -> RunRow:
    row = run.run()
    assert row is not None
    return row


def ledger_of(store: Store, row: RunRow) -> LedgerAnswer:
    return store.ledgers.of(row, row.heartbeat_at)


def pause(run: Training) -> tuple[Command, Command]:
    """Pause for as long as a validation takes; returns the commands of its beginning and its end."""
    (paused,) = run.ask(Kind.PAUSE)
    run.ask(Kind.VALIDATE)
    (resumed,) = run.ask(Kind.RESUME)
    return paused, resumed


def test_the_ledger_says_what_happened_and_what_it_cost(start: Start, eventually: Eventually) -> None:
    run = start(output="first.txt", environment={"TEST_EVENTS": "kill@1:9"})
    run.wait_for_step(21)
    eventually(lambda: run.events("checkpoint"), seconds=90, what="the checkpoint of step 20")
    paused, resumed = pause(run)
    rolled_back = run.ended(run.submit(Kind.ROLLBACK, {"checkpoint": "step_0000020"}))
    from_step = (rolled_back.result or {})["from_step"]
    run.wait_for_step(30)
    before = row_of(run)
    alive = ledger_of(run.store, before)
    kill_family(run.process)
    dead = row_of(run)
    again = start(output="second.txt")
    eventually(lambda: len(again.events("started")) == 3, seconds=90, what="the start after all were killed")
    again_from = again.events("started")[-1]["details"]["step"]
    again.wait_for_step(again_from + 3)
    again.ask(Kind.STOP)
    assert again.end() == 0, again.output

    row = row_of(again)
    answer = ledger_of(Store(run.root / "leitstand.db"), row)  # as after a restart of the API
    registered = [event["details"] for event in again.events("registered")]
    check_times(answer, registered, row)
    check_pause(answer, paused, resumed)
    assert row.state is RunState.STOPPED
    down, rollback, killed = answer.incidents
    check_killed(killed, again.events("recovered"))
    assert (rollback.kind, rollback.named_by, rollback.source) == (IncidentKind.ROLLBACK, "person", "step_0000020")
    assert (rollback.step, rollback.steps_lost) == (from_step, from_step - 20)
    check_down(down, dead, registered[-1], again_from)
    assert answer.incident_counts == {"rank_killed": 1, "rollback": 1, "trainer_down": 1}
    assert answer.steps_lost == from_step - 20 + dead.step - again_from
    assert alive.incidents == answer.incidents[1:]
    check_rebuilt(run.root, answer)


def check_times(answer: LedgerAnswer, registered: list[dict[str, Any]], row: RunRow) -> None:
    """All time since the first start is told, and each use got what it must have got."""
    assert answer.wall_seconds == pytest.approx(row.heartbeat_at - registered[0]["began_at"], abs=CLOCKS_SECONDS)
    seconds = answer.seconds
    gaps = [one["began_at"] - one["previous"]["heartbeat_at"] for one in registered[1:]]
    assert seconds[TimeUse.DOWN] == pytest.approx(sum(gaps), abs=CLOCKS_SECONDS)
    spent = [one["previous"]["time_spent"]["seconds"] for one in registered[1:]]
    spent.append((row.facts or {})["time_spent"]["seconds"])
    training = sum(one["training"] for one in spent)
    assert seconds[TimeUse.USEFUL] + seconds[TimeUse.REPEATED] == pytest.approx(training, abs=0.01)
    assert seconds[TimeUse.STARTING] == pytest.approx(sum(one["starting"] for one in spent), abs=0.01)
    assert 0 < seconds[TimeUse.REPEATED] < training
    assert seconds[TimeUse.VALIDATING] > 0
    assert seconds[TimeUse.SAVING] > 0
    assert (seconds[TimeUse.UNKNOWN], seconds[TimeUse.STOPPED]) == (0, 0)
    assert answer.useful_time_ratio == pytest.approx(seconds[TimeUse.USEFUL] / answer.wall_seconds)


def check_pause(answer: LedgerAnswer, paused: Command, resumed: Command) -> None:
    """The validation within the pause is no pause; all else between the two commands is."""
    assert None not in (paused.started_at, paused.finished_at, resumed.started_at, resumed.finished_at)
    most = (resumed.finished_at or 0.0) - (paused.started_at or 0.0)
    assert 0 < answer.seconds[TimeUse.PAUSED] < most


def check_killed(killed: Incident, recovered: list[dict[str, Any]]) -> None:
    (told,) = [event["details"] for event in recovered]
    assert (killed.kind, killed.ranks, killed.named_by) == (IncidentKind.RANK_KILLED, (1,), "launcher")
    assert (killed.recovery, killed.source, killed.steps_lost) == (Recovery.SURVIVOR, "rank 0", 0)
    assert (killed.detected_at, killed.training_at) == (told["detected_at"], told["training_at"])
    assert killed.recovery_seconds == pytest.approx(told["seconds"], abs=0.01)
    assert "was ended by SIGKILL" in (killed.reason or "")


def check_down(down: Incident, dead: RunRow, registered: dict[str, Any], again_from: int) -> None:
    assert (down.kind, down.named_by, down.is_over) == (IncidentKind.TRAINER_DOWN, "start", True)
    assert (down.began_at, down.detected_at) == (dead.heartbeat_at, registered["began_at"])
    assert (down.step, down.steps_lost) == (dead.step, dead.step - again_from)
    assert (down.recovery, down.source) == (Recovery.CHECKPOINT, f"step_{again_from:07d}")
    assert down.training_at is not None
    assert down.training_at > registered["began_at"]


def check_rebuilt(root: Path, answer: LedgerAnswer) -> None:
    """A store that is made again from the log tells the same, to the milliseconds of the log and one heartbeat."""
    (root / "leitstand.db").rename(root / "lost.db")
    store = Store(root / "leitstand.db", create=True)
    rebuild(RunDirectory(root), store)
    row = store.runs.latest()
    assert row is not None

    found = ledger_of(store, row)

    assert dict(found.seconds) == pytest.approx(dict(answer.seconds), abs=1.5)
    assert found.wall_seconds == pytest.approx(answer.wall_seconds, abs=1.5)
    assert [known(one) for one in found.incidents] == [known(one) for one in answer.incidents]
    store.close()


def known(one: Incident) -> tuple[object, ...]:
    """What the log tells of an incident."""
    return one.kind, one.ranks, one.steps_lost, one.recovery, one.source, one.named_by, one.is_over

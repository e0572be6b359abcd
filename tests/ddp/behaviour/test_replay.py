"""A run whose interventions are repeated from a file is the original, to the last bit, and so are its records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddp.checkpoint.folder import CheckpointFolder
from service.cli import exit_code
from service.commands import Command, CommandState, Kind
from service.run.directory import RunDirectory
from service.run.record import list_records
from service.store.fork import fork_run
from tests.ddp.behaviour.test_exactness import BEST
from tests.ddp.harness.sameness import TIMES, differences
from tests.ddp.harness.training import Eventually, Training

LAST_STEP = 24
SETTINGS = {
    "WORKLOAD": "tests.ddp.harness.gated_workload", "MAX_STEPS": LAST_STEP, "EMA_DECAY": 0.9, "LOG_EVERY": 7,
    "VAL_STEP_EVERY": 8, "CHECKPOINT_EVERY": 5, "PATCH_SIZE": 8, "WARMUP_STEPS": 5, "MAX_LR": 0.02,
    "ADAPTIVE_WARMUP_STEPS": 4, "SETTLING_STEPS": 2, "PLATEAU_PATIENCE": 3, "PLATEAU_SAFETY_THRESHOLD": 9,
    "COOLDOWN_DURATION": 2, "ADAPT_EVERY": 4, "BOOST_STEPS": 10,
}  # fmt: skip
WANTED = [
    (Kind.SET, {"LR_SCALE": 0.5, "L1_WEIGHT": 0.5}, 4),
    (Kind.VALIDATE, {}, 7),
    (Kind.SET, {"LR_SCALE": 0.8}, 9),
    (Kind.ROLLBACK, {"checkpoint": "5"}, 12),
    (Kind.SET, {"VAL_STEP_EVERY": 4, "L1_WEIGHT": "adaptive"}, 14),
]
FORKED_AT = 20
Train = Callable[..., Training]


def test_a_replay_is_the_original_to_the_last_bit_from_the_start_and_from_a_checkpoint(
    train: Train, tmp_path: Path, eventually: Eventually
) -> None:
    original = steered(train, tmp_path, eventually)
    file = exported(original, tmp_path)

    again = left_and_resumed(train, tmp_path, eventually, file)
    check_same(again, original)
    check_commands(again)

    # From a checkpoint, while a person does something too.
    fork_run(RunDirectory(original.root), tmp_path / "forked", str(FORKED_AT))
    gate = tmp_path / "forked.gate"
    forked = train(
        2, "--resume", output="forked.txt", root="forked", environment={"TEST_GATE": str(gate)}, REPLAY_FILE=file,
        **SETTINGS,
    )  # fmt: skip
    (own,) = submitted(forked, gate, [(Kind.VALIDATE, {}, 22)], eventually)
    assert forked.end() == 0, forked.output
    assert own.state is CommandState.DONE
    check_same(forked, original, but=BEST, but_steps={22})
    assert [event["details"]["remaining"] for event in forked.events("replay")] == [0]


def steered(train: Train, tmp_path: Path, eventually: Eventually) -> Training:
    gate = tmp_path / "original.gate"
    run = train(2, output="original.txt", root="original", environment={"TEST_GATE": str(gate)}, **SETTINGS)
    ended = submitted(run, gate, WANTED, eventually)
    assert run.end() == 0, run.output
    assert [item.state for item in ended] == [CommandState.DONE] * len(WANTED), [item.reason for item in ended]
    return run


def submitted(
    run: Training, gate: Path, wanted: list[tuple[Kind, dict[str, Any], int]], eventually: Eventually
) -> list[Command]:
    """Queue commands while the loader waits, let it go, and return them at their ends."""
    eventually(lambda: run.is_at(0), seconds=60, what="a trainer that waits")
    asked = [run.submit(kind, arguments, apply_at_step=step, why="a test") for kind, arguments, step in wanted]
    eventually(lambda: all(run.has_begun(command_id) for command_id in asked), what="the beginning of all commands")
    gate.touch()
    return [run.ended(command_id) for command_id in asked]


def exported(original: Training, tmp_path: Path) -> Path:
    file = tmp_path / "replay.json"
    assert exit_code(["replay", "export", str(original.root), "--out", str(file)]) == 0
    content = json.loads(file.read_text())
    found = [(item["kind"], item["branch_id"], item["step"]) for item in content["interventions"]]
    assert found == [
        ("set", 0, 4), ("checkpoint", 0, 5), ("validate", 0, 7), ("set", 0, 9), ("rollback", 0, 12), ("set", 1, 14),
    ]  # fmt: skip
    people = [item for item in content["interventions"] if item["kind"] != "checkpoint"]
    assert {(item["actor"], item["why"]) for item in people} == {("tester", "a test")}
    assert content["made_with"]["world_size"] == 2
    assert content["remarks"] == []
    return file


def left_and_resumed(train: Train, tmp_path: Path, eventually: Eventually, file: Path) -> Training:
    """Repeat the file in two starts: a person stops the first one at a step at which something is to be repeated.

    What the rollback returns to stays, although one checkpoint is kept.
    """
    gate = tmp_path / "again.gate"
    chosen = {**SETTINGS, "REPLAY_FILE": file, "KEEP_CHECKPOINTS": 1}
    first = train(2, output="again.txt", root="again", environment={"TEST_GATE": str(gate)}, **chosen)
    (stop,) = submitted(first, gate, [(Kind.STOP, {}, 9)], eventually)
    assert first.end() == 0, first.output
    assert (stop.state, stop.step) == (CommandState.DONE, 9)
    second = train(2, "--resume", output="resumed.txt", root="again", **chosen)
    assert second.end() == 0, second.output
    return second


def check_commands(again: Training) -> None:
    """The repeated interventions are commands of the new run, with who asked for them in the original."""
    run = again.run()
    assert run is not None
    commands = [item for item in again.store.commands.find(run.id) if item.kind is not Kind.STOP]
    assert [(item.kind, item.source) for item in commands if item.kind is not Kind.CHECKPOINT] == [
        (kind, "replay") for kind, *_ in WANTED
    ]
    assert {item.state for item in commands} == {CommandState.DONE}, [item.reason for item in commands]
    assert {item.actor for item in commands if item.kind is not Kind.CHECKPOINT} == {"tester"}
    begun = [event["details"] for event in again.events("replay")]
    assert [(details["remaining"], details["differences"]) for details in begun] == [(6, []), (3, [])]


def check_same(
    run: Training, original: Training, but: frozenset[str] = frozenset(), but_steps: set[int] | None = None
) -> None:
    found, expected = last_state(run.root), last_state(original.root)
    assert [text for text in differences(found, expected) if not any(name in text for name in but)] == []
    steps = {step for step, _ in list_records(run.root)} - (but_steps or set())
    assert steps == {step for step, _ in list_records(original.root)}
    for step in steps:
        assert lasting(run, step, but) == lasting(original, step, but)


def lasting(run: Training, step: int, but: frozenset[str]) -> dict[str, Any]:
    """A record without its times, and without what says which run it is of."""
    leaving = TIMES | but | {"command_id", "parent_run", "parent_step"}
    return {key: value for key, value in run.record(step).items() if key not in leaving}


def last_state(root: Path) -> dict[str, Any]:
    found = CheckpointFolder(root / "checkpoints").newest_usable()
    assert found is not None
    assert found.saved.step == LAST_STEP
    found.state["composer"]["validation"].pop("validation_duration", None)
    for name in ("records", "replay"):
        found.state["extra"].pop(name, None)
    return found.state

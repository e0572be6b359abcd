"""A run that was watched, or left and continued, is the run that was not: to the last bit, and so are its records.

Two real gloo ranks, dropout, augmentation, accumulation over three micro-batches, EMA, and the adaptive controller at
work (tiny numbers make it act within these few steps). The loader waits for the commands, which name their steps.
"""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from api.app import create_app
from service.commands import CommandState, Kind
from service.config.settings import RunConfig
from service.run.record import list_records
from service.run.state import RunState
from tests.ddp.harness.sameness import check_same, last_state
from tests.ddp.harness.training import Training

LAST_STEP = 60
SCHEDULED = (20, 40, 60)
EXACT = {
    "WORKLOAD": "tests.ddp.harness.gated_workload", "MAX_STEPS": LAST_STEP, "ACCUMULATION_STEPS": 3, "EMA_DECAY": 0.9,
    "LOG_EVERY": 7, "VAL_STEP_EVERY": 20, "CHECKPOINT_EVERY": 25, "PATCH_SIZE": 8, "WARMUP_STEPS": 5, "MAX_LR": 0.02,
    "ADAPTIVE_WARMUP_STEPS": 4, "SETTLING_STEPS": 2, "PLATEAU_PATIENCE": 3, "PLATEAU_SAFETY_THRESHOLD": 9,
    "COOLDOWN_DURATION": 2, "ADAPT_EVERY": 4, "BOOST_STEPS": 10, "SAVE_BEST": "false", "KEEP_CHECKPOINTS": 0,
}  # fmt: skip
BEST = frozenset({"best_quality", "best_quality_ever", "best_step"})
# 11 training pairs, 12 samples a step: step 11 ends an epoch exactly, all others named here lie in the middle of one.
EPOCH_END, VALIDATED = 11, 20

Train = Callable[..., Training]


def test_watching_steering_leaving_and_resuming_change_nothing(
    train: Train, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    straight = train(2, output="straight.txt", root="straight", **EXACT)
    assert straight.end() == 0, straight.output
    expected = last_state(straight.root, LAST_STEP)
    assert expected["bad_steps"]["total"] == 0
    changes = {event["kind"] for event in straight.history()}
    assert "weights" in changes or "mode" in changes, changes  # otherwise the controller would prove nothing

    # A manual validation may be the best so far; that is all it may leave behind.
    check_same(watched(train, tmp_path, eventually), straight.root, expected, but=BEST, steps=SCHEDULED)
    check_same(left_and_resumed(train, tmp_path, eventually), straight.root, expected, steps=SCHEDULED)


@pytest.mark.parametrize("ranks", [1, 3, 4])
def test_a_run_that_is_left_and_resumed_is_the_straight_one_on_any_number_of_ranks(
    train: Train, tmp_path: Path, eventually: Callable[..., None], ranks: int
) -> None:
    """From three ranks on, the order in which a sum over the ranks is taken matters to the last bit."""
    check_left_and_resumed(train, tmp_path, eventually, ranks, {})


def test_a_network_whose_buffers_training_changes_has_the_same_ones_on_all_ranks(
    train: Train, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """Else each rank would validate its share of the images with a network of its own, which no checkpoint holds."""
    straight = check_left_and_resumed(
        train, tmp_path, eventually, 2, {"TEST_BATCH_NORM": "1", "TEST_EVENTS": "nan@1:4"}
    )

    state = last_state(straight, 12)
    buffers = {name: value for name, value in state["stepper"]["model"].items() if "feat_extract.1." in name}
    assert int(buffers["feat_extract.1.num_batches_tracked"]) == 11  # of 12 steps, one skipped
    assert all(value.isfinite().all() for value in buffers.values())


def check_left_and_resumed(
    train: Train, tmp_path: Path, eventually: Callable[..., None], ranks: int, environment: dict[str, str]
) -> Path:
    """Train 12 steps at once, then again with an end after 5 and manual validations; return the first one's folder."""
    settings = {**EXACT, "N_FEATS": 16, "N_BLOCKS": 4, "ACCUMULATION_STEPS": 1, "MAX_STEPS": 12, "VAL_STEP_EVERY": 6}
    straight = train(ranks, output="straight.txt", root="straight", environment=environment, **settings)
    assert straight.end() == 0, straight.output

    gate = tmp_path / "left.gate"
    run = train(ranks, output="left.txt", root="left", environment={**environment, "TEST_GATE": str(gate)}, **settings)
    submit_before_the_start(run, gate, [(Kind.CHECKPOINT, 3), (Kind.STOP, 5)], eventually)
    assert run.end() == 0, run.output
    resumed = train(ranks, "--resume", output="resumed.txt", root="left", **settings, environment=environment)
    assert resumed.end() == 0, resumed.output

    check_same(resumed.root, straight.root, last_state(straight.root, 12), steps=(6, 12))
    return straight.root


def watched(train: Train, tmp_path: Path, eventually: Callable[..., None]) -> Path:
    """Manual validations, previews, checkpoints, a pause: each at a step of its own, two at once."""
    gate, clip = tmp_path / "watched.gate", tmp_path / "clips" / "walk"
    write_clip(clip)
    run = train(
        2, output="watched.txt", root="watched", environment={"TEST_GATE": str(gate)}, PREVIEW_ROOT=clip.parent, **EXACT
    )
    wanted = [
        (Kind.VALIDATE, 3), (Kind.CHECKPOINT, 9), (Kind.PAUSE, EPOCH_END), (Kind.VALIDATE, EPOCH_END),
        (Kind.VALIDATE, VALIDATED), (Kind.CHECKPOINT, 22), (Kind.PREVIEW, 31), (Kind.VALIDATE, 41),
    ]  # fmt: skip
    asked = submit_before_the_start(run, gate, wanted, eventually)
    paused = run.ended(asked[2])
    assert (paused.state, paused.step) == (CommandState.DONE, EPOCH_END)
    run.ended(run.submit(Kind.VALIDATE))
    check_previews(run)
    read_everything(run.root)
    run.ended(run.submit(Kind.RESUME))
    read_everything(run.root)
    assert run.end() == 0, run.output

    rendered = run.root / "previews" / "step_31" / "rendered_val_1.png.webp"
    assert rendered.exists()
    ended = [run.command(command_id) for command_id in asked]
    assert [item.state for item in ended] == [CommandState.DONE] * len(ended), [item.reason for item in ended]
    assert [(item.kind, item.step) for item in ended] == wanted
    assert {3, EPOCH_END, 41} < {step for step, _ in list_records(run.root)}
    return run.root


def write_clip(folder: Path) -> None:
    """Three pictures of odd sizes."""
    folder.mkdir(parents=True)
    for number in range(3):
        Image.effect_noise((23, 17), 50 + number).convert("RGB").save(folder / f"{number}.png")


def check_previews(run: Training) -> None:
    """A moving picture of a clip, and commands that are refused, while the run is paused at EPOCH_END."""
    link = run.root.parent / "clips" / "log.png"
    link.symlink_to(run.root / "training.log")
    asked = [
        run.submit(Kind.PREVIEW, {"clip": clip, "frame": frame, "frames": frames})
        for clip, frame, frames in [
            ("walk", 0, 3),
            ("walk", 9, 1),
            ("log.png", 0, 1),
            ("val_1.png", 1, 1),
            ("../run/training.log", 0, 1),
        ]
    ]
    done, *refused = [run.ended(command_id) for command_id in asked]
    assert (done.state, done.step) == (CommandState.DONE, EPOCH_END), done.reason
    assert done.result == {
        "preview": "rendered_walk_0.webp", "frames": 3, "url": f"/previews/{EPOCH_END}/rendered_walk_0.webp",
    }  # fmt: skip
    answer = create_app(RunConfig(data_root=run.root)).test_client().get(done.result["url"])
    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.size, image.n_frames) == ((2 * 3 * 23, 3 * 17), 3)  # type: ignore[attr-defined]
    assert [command.state for command in refused] == [CommandState.REJECTED] * 4
    reasons = [
        "so there is no frame 9",
        "leads out of",
        "which has one frame",
        "must be the name of a validation image",
    ]
    for command, reason in zip(refused, reasons, strict=True):
        assert reason in (command.reason or ""), command.reason


def read_everything(root: Path) -> None:
    """Every route of the API that only reads."""
    app = create_app(RunConfig(data_root=root))
    routes = [rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments]
    assert {"/state", "/series", "/statistics", "/ranks", "/metrics", "/settings", "/commands"} <= set(routes)
    for route in (*routes, "/statistics/latest", "/statistics/Statistik_3.json", "/ranks/0/stack", "/ranks/1/stack"):
        assert app.test_client().get(route).status_code in {200, 404}, route


def left_and_resumed(train: Train, tmp_path: Path, eventually: Callable[..., None]) -> Path:
    """Left at an epoch's end, right after a validation, by a signal in accumulation, while paused."""
    gate = tmp_path / "left.gate"

    def start(number: int, **environment: str) -> Training:
        gate.unlink(missing_ok=True)
        variables = {"TEST_GATE": str(gate), **environment}
        return train(2, "--resume", output=f"left{number}.txt", root="left", environment=variables, **EXACT)

    for number, step in enumerate((EPOCH_END, VALIDATED)):
        run = start(number)
        (stop,) = submit_before_the_start(run, gate, [(Kind.STOP, step)], eventually)
        assert run.end() == 0, run.output
        assert (run.command(stop).state, run.command(stop).step) == (CommandState.DONE, step)
        assert [step for step, _ in list_records(run.root)] == [
            step for step in (20,) if step <= run.command(stop).step
        ]

    # A signal to rank 1 in the second micro-batch of step 23; it leaves at the end of a step soon after.
    run = start(4, TEST_EVENTS="term@1:68")
    gate.touch()
    assert run.end() != 0
    assert left_after_signal(run) >= 23

    run = start(5)
    (pause,) = submit_before_the_start(run, gate, [(Kind.PAUSE, 50)], eventually)
    assert run.ended(pause).step == 50
    run.process.terminate()
    run.end()
    assert left_after_signal(run) == 50

    run = start(6)
    gate.touch()
    assert run.end() == 0, run.output
    return run.root


def left_after_signal(run: Training) -> int:
    row = run.run()
    assert row is not None
    assert (row.state, row.reason) == (RunState.STOPPED, "left after a signal; ready to resume"), run.output
    return row.step


def submit_before_the_start(
    run: Training, gate: Path, wanted: list[tuple[Kind, int]], eventually: Callable[..., None]
) -> list[str]:
    """Queue commands for steps to come while the loader still waits, and let it go once all have begun."""
    eventually(lambda: run.is_at(0), seconds=60, what="a trainer that waits")
    clip = {Kind.PREVIEW: {"clip": "val_1.png"}}
    asked = [run.submit(kind, clip.get(kind), apply_at_step=step) for kind, step in wanted]
    eventually(lambda: all(run.has_begun(command_id) for command_id in asked), what="the beginning of all commands")
    gate.touch()
    return asked

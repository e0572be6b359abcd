"""A rank is killed, and no step is lost: all go on after the last finished one, and the run is the one never killed.

Real gloo ranks, dropout, batch normalization, EMA, and the adaptive controller at work. No checkpoint is saved before
the end, unless the test says so: what is not lost, a surviving rank has kept.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.launcher.ranks.shared_states import SHARED_MEMORY
from tests.ddp.harness.sameness import check_same, last_state
from tests.ddp.harness.training import Training

LAST_STEP = 48
SETTINGS = {
    "WORKLOAD": "tests.ddp.harness.gated_workload", "MAX_STEPS": LAST_STEP, "EMA_DECAY": 0.9, "LOG_EVERY": 7,
    "VAL_STEP_EVERY": 16, "CHECKPOINT_EVERY": 10**6, "PATCH_SIZE": 8, "WARMUP_STEPS": 5, "MAX_LR": 0.02,
    "ADAPTIVE_WARMUP_STEPS": 4, "SETTLING_STEPS": 2, "PLATEAU_PATIENCE": 3, "PLATEAU_SAFETY_THRESHOLD": 9,
    "COOLDOWN_DURATION": 2, "ADAPT_EVERY": 4, "BOOST_STEPS": 10, "SAVE_BEST": "false", "KEEP_CHECKPOINTS": 0,
}  # fmt: skip
ENVIRONMENT = {"TEST_BATCH_NORM": "1"}
SCHEDULED = (16, 32, 48)

Train = Callable[..., Training]


@pytest.fixture(scope="module")
def straight_runs() -> dict[int, Path]:
    """The runs that were never killed, by their number of ranks; each is made once, by the first test that needs it."""
    return {}


@pytest.fixture
def straight(
    train: Train, straight_runs: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    def of(ranks: int) -> Path:
        if ranks not in straight_runs:
            root = tmp_path_factory.mktemp("straight")
            run = train(ranks, output="straight.txt", root=str(root), environment=ENVIRONMENT, **SETTINGS)
            assert run.end() == 0, run.output
            straight_runs[ranks] = root
        return straight_runs[ranks]

    return of


def killed(train: Train, ranks: int, events: str = "", restarts: int = 3, **values: Any) -> Training:
    environment = {**ENVIRONMENT, "TEST_EVENTS": events}
    return train(ranks, launcher=[f"--max-restarts={restarts}"], environment=environment, **{**SETTINGS, **values})


def left_behind(run: Training) -> list[str]:
    row = run.run()
    assert row is not None
    return [path.name for path in SHARED_MEMORY.glob(f"leitstand-{row.id}-*")]


def check_recovered(run: Training, straight: Path, kills: int) -> None:
    """Nothing is lost, nothing is there twice, and all is as in the run that was never killed, but for one event."""
    recovered = run.events("recovered")
    assert [event["details"]["steps_lost"] for event in recovered] == [0] * kills, run.output
    assert all(event["details"]["source"].startswith("rank ") for event in recovered)
    check_same(run.root, straight, last_state(straight, LAST_STEP), steps=SCHEDULED)
    assert log_points(run.root) == log_points(straight)
    assert not list(run.root.glob("archive/*"))
    assert left_behind(run) == []


def log_points(root: Path) -> dict[int, Any]:
    """The total loss of every log point in the store."""
    from service.store.store import Store

    store = Store(root / "leitstand.db")
    row = store.runs.latest()
    assert row is not None
    points = {point.step: point.values.get("total_loss_value") for point in store.series.find(row.id)}
    store.close()
    return points


@pytest.mark.parametrize(
    ("ranks", "event"),
    [
        pytest.param(2, "kill@1:9", id="2 ranks, inside a block"),
        pytest.param(2, "kill@0:17", id="2 ranks, rank 0 right after a validation"),
        pytest.param(3, "kill@2:21", id="3 ranks, right after a block and a log point"),
    ],
)
def test_the_step_of_a_killed_rank_is_made_by_the_next_start(
    train: Train, straight: Callable[[int], Path], ranks: int, event: str
) -> None:
    run = killed(train, ranks, event)
    assert run.end() == 0, run.output

    step = int(event.rpartition(":")[2]) - 1
    assert [event["step"] for event in run.events("started")] == [0, step]
    check_recovered(run, straight(ranks), kills=1)

"""What a rank imports in the course of a training: each of these costs every rank of every start."""

from collections.abc import Callable
from pathlib import Path

from tests.ddp.harness.training import Training


def test_ranks_import_neither_compiler_nor_video_and_only_rank_0_the_database(
    train: Callable[..., Training], tmp_path: Path
) -> None:
    training = train(
        2, WORKLOAD="tests.ddp.harness.modules_workload", EMA_DECAY=0.9, MAX_STEPS=6, VAL_STEP_EVERY=2,
        CHECKPOINT_EVERY=2, environment={"TEST_MODULES": str(tmp_path)}, is_forked=False,
    )  # fmt: skip
    assert training.end() == 0, training.output

    # After five steps with two validations and two checkpoints.
    first, second = (set((tmp_path / str(rank)).read_text().splitlines()) for rank in range(2))
    costly = {"torch._dynamo", "torch._inductor", "sympy", "av", "tensorboardX", "psycopg", "requests", "sqlalchemy"}
    assert first & costly == {"sqlalchemy"}
    assert second & costly == set()
    assert {"torch", "PIL", "ddp.training.trainer"} <= first & second

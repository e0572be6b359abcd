"""Several ranks train as one with the joined batch, learn what the committed reference learned, and talk no more than
they must."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ddp.harness.launching import Launch, settings, torchrun

PROGRAM = ("-m", "tests.ddp.harness.rank_programs.make_steps")
REFERENCE = Path(__file__).parent / "reference" / "learning_curve.json"


@pytest.fixture
def steps_of(launch: Launch, tmp_path: Path, tiny_dataset: Path) -> Any:
    """Make steps on so many ranks; returns what rank 0 saved."""

    def make(ranks: int, steps: int, name: str, **values: object) -> dict[str, Any]:
        rare = {"LOG_EVERY": 10**6, "VAL_STEP_EVERY": 10**6, "CHECKPOINT_EVERY": 10**6, "MAX_STEPS": 10**6}
        chosen = settings(**{**rare, "DATASET_ROOT": tiny_dataset, "DATA_ROOT": tmp_path / name, **values})
        overrides = [text for text in chosen if text != "--set"]
        (tmp_path / name).mkdir()
        out = tmp_path / f"{name}.pt"
        process = launch(torchrun(ranks, *PROGRAM, str(out), str(steps), *overrides), output=f"{name}.txt")
        assert process.wait(timeout=120) == 0, (tmp_path / f"{name}.txt").read_text()
        found: dict[str, Any] = torch.load(out, weights_only=False)
        return found

    return make


def test_a_step_on_several_ranks_is_the_step_of_one_rank_with_the_joined_batch(steps_of: Any) -> None:
    one = steps_of(1, 2, "one", BATCH_SIZE=8, PATCH_SIZE=8)
    for ranks, values in (
        (4, {"BATCH_SIZE": 2}),
        (2, {"BATCH_SIZE": 2, "ACCUMULATION_STEPS": 2}),
        (2, {"BATCH_SIZE": 4, "STATIC_GRAPH": "true", "GRADIENT_AS_BUCKET_VIEW": "false"}),
    ):
        name = "-".join(map(str, (ranks, *values.values())))
        several = steps_of(ranks, 2, name, PATCH_SIZE=8, **values)
        assert several["losses"] == pytest.approx(one["losses"], abs=1e-6)
        torch.testing.assert_close(several["weights"], one["weights"], rtol=0, atol=1e-6)


def test_the_learning_curve_is_the_committed_one_and_steps_have_no_collective_of_ours(steps_of: Any) -> None:
    """One run for both, because starting ranks is what costs time."""
    found = steps_of(
        2, 60, "curve", LOG_EVERY=20, ACCUMULATION_STEPS=2, PATCH_SIZE=8, SEED=7, ADAPTIVE_WARMUP_STEPS=10,
        SETTLING_STEPS=5,
    )  # fmt: skip

    reference = json.loads(REFERENCE.read_text())
    # Other processors round otherwise, and sixty steps of AdamW make more of it.
    assert found["losses"] == pytest.approx(reference["total_loss"], rel=1e-3)
    assert sum(found["losses"][-10:]) < 0.97 * sum(found["losses"][:10])

    # Accumulation: the gradients of a step cross once, with the last micro-batch.
    buckets = set(list(found["gradients"].values())[1:])  # DDP sorts its buckets anew after the first step
    assert len(buckets) == 1
    assert sorted(found["gradients"]) == list(range(1, 61))
    assert buckets == {1}

    for step, kinds in found["own"].items():
        others = {kind: count for kind, count in kinds.items() if kind != "control"}
        if step == 0:
            continue  # the start
        assert others == ({"all_reduce": 1} if step % 20 == 0 else {}), f"step {step}"
    words = sum(kinds.get("control", 0) for step, kinds in found["own"].items() if step > 0)
    # At most seventeen a second, and a few more while the first steps, which are slow, mislead about the next ones.
    assert words <= 6 + 17 * found["seconds"]

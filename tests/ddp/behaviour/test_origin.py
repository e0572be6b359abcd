"""Real ranks begin with weights of another run, or go on from a copy of it: a run of its own that names its parent."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ddp.checkpoint.folder import CheckpointFolder
from service.run.directory import STORE_COMPANIONS, RunDirectory
from service.run.record import list_records
from service.run.records.provenance import provenance
from service.run.state import RunState
from service.store.fork import fork_run
from tests.ddp.harness.training import Training

Train = Callable[..., Training]
RARE = 10**6
TINY_STEPS = {"MAX_LR": 1e-9, "MIN_LR": 0, "LR_EXPONENT": -12, "WEIGHT_DECAY": 0}
GATED = {"WORKLOAD": "tests.ddp.harness.gated_workload", "PATCH_SIZE": 8}


def state_of(root: Path) -> dict[str, Any]:
    found = CheckpointFolder(root / "checkpoints").newest_usable()
    assert found is not None
    return found.state


def contents(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in {".lock", *STORE_COMPANIONS}]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_close(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all(torch.allclose(found[name], tensor, atol=1e-6, rtol=0) for name, tensor in expected.items())


def test_a_new_run_begins_with_weights_of_another_and_says_so(train: Train) -> None:
    parent = train(2, root="parent", output="parent.txt", MAX_STEPS=6)
    assert parent.end() == 0, parent.output
    weights, before = state_of(parent.root)["stepper"]["model"], contents(parent.root)

    child = train(2, MAX_STEPS=1, INIT_FROM=parent.root, EMA_DECAY=0.5, **TINY_STEPS)
    assert child.end() == 0, child.output

    assert contents(parent.root) == before
    state, record = state_of(child.root), child.record(1)
    assert is_close(state["stepper"]["model"], weights)
    assert is_close(state["stepper"]["average"], weights)
    assert f"INIT_FROM {parent.root}: {len(weights)} of the network's {len(weights)} tensors match." in child.output
    identity, parents = RunDirectory(child.root).read_identity(), RunDirectory(parent.root).run_id()
    assert identity is not None
    assert (identity.init_from, identity.parent_run, identity.parent_step) == (str(parent.root), parents, 6)
    assert record["run_id"] == identity.run_id != parents
    assert (record["schema_version"], record["samples_seen"]) == (4, 4)
    assert (record["init_from"], record["parent_run"], record["parent_step"]) == (str(parent.root), parents, 6)

    made_from = provenance.read(RunDirectory(child.root), record["provenance"])
    assert (made_from["world_size"], made_from["parent_run"], made_from["parent_step"]) == (2, parents, 6)
    assert (made_from["settings"]["MAX_STEPS"], made_from["training_data"]) == (1, record["training_data"])

    resumed = train(2, "--resume", output="resumed.txt", MAX_STEPS=3, INIT_FROM="/no/longer/there")
    assert resumed.end() == 0, resumed.output
    later = provenance.read(RunDirectory(child.root), resumed.record(3)["provenance"])
    assert (later["settings"]["MAX_STEPS"], later["parent_run"]) == (3, parents)
    assert resumed.output.count("INIT_FROM /no/longer/there is ignored") == 1
    assert resumed.record(3)["init_from"] == str(parent.root)


def test_weights_that_do_not_fit_end_the_start_before_anything_is_touched(train: Train, tmp_path: Path) -> None:
    run = train(2, MAX_STEPS=2)
    assert run.end() == 0, run.output
    before = contents(run.root)
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")

    for number, (source, reason) in enumerate(
        [(tmp_path / "other.pt", "give the settings of the network"), (tmp_path / "none", "cannot be read")]
    ):
        refused = train(2, "--fresh", output=f"{number}.txt", MAX_STEPS=2, INIT_FROM=source)
        assert refused.end() != 0
        assert refused.output.count(f"Error: INIT_FROM {source}") == 1
        assert reason in refused.output
    assert contents(run.root) == before


def test_a_run_that_died_before_its_first_checkpoint_begins_again_with_its_weights(train: Train) -> None:
    parent = train(1, root="parent", output="parent.txt", MAX_STEPS=6)
    assert parent.end() == 0, parent.output
    rare = {"CHECKPOINT_EVERY": RARE, "VAL_STEP_EVERY": RARE, "MAX_STEPS": 5, **TINY_STEPS, **GATED}
    source = parent.root / "checkpoints" / "latest"

    killed = train(2, INIT_FROM=source, environment={"TEST_EVENTS": "kill@1:3"}, **rare)
    assert killed.end() != 0
    resumed = train(2, "--resume", output="resumed.txt", **rare)
    assert resumed.end() == 0, resumed.output

    assert [event["details"]["init_from"] for event in resumed.events("initial weights")] == [str(source)] * 2
    assert is_close(state_of(resumed.root)["stepper"]["model"], state_of(parent.root)["stepper"]["model"])


def test_a_fork_goes_on_as_its_parent_would_have_and_the_parent_stays_as_it_is(train: Train, tmp_path: Path) -> None:
    parent = train(2, root="parent", output="parent.txt", MAX_STEPS=10)
    assert parent.end() == 0, parent.output
    before = contents(parent.root)

    made = fork_run(RunDirectory(parent.root), tmp_path / "fork")
    fork = train(2, "--resume", root="fork", output="fork.txt", MAX_STEPS=15)
    assert fork.end() == 0, fork.output

    assert contents(parent.root) == before
    went_on = train(2, "--resume", root="parent", output="went on.txt", MAX_STEPS=15)
    assert went_on.end() == 0, went_on.output
    expected = state_of(parent.root)["stepper"]["model"]
    assert all(torch.equal(state_of(fork.root)["stepper"]["model"][name], value) for name, value in expected.items())
    row = fork.run()
    assert row is not None
    assert (row.id, row.state, row.step) == (made.identity.run_id, RunState.FINISHED, 15)
    assert [point.step for point in fork.store.series.find(row.id)] == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    parents = RunDirectory(parent.root).run_id()
    records = [json.loads(path.read_text()) for _, path in list_records(fork.root)]
    assert [(record["step_current"], record["run_id"]) for record in records] == [
        (5, parents), (10, parents), (15, row.id),
    ]  # fmt: skip
    assert (records[-1]["parent_run"], records[-1]["parent_step"], records[-1]["init_from"]) == (parents, 10, None)

"""Real trainings to which faults happen, one after the other: nothing is lost, and they end as if nothing had been.

The faults are the `quick` ones of `tests/faults/table.py`, each on one number of ranks; the others, and all of them on
all numbers, by hand: `python -m bench.kills.faults --hours 2`.
"""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from bench.kills.comparison import final_complaints
from ddp.checkpoint.format import Reason, SavedState, checkpoint_name, load, step_in, write_state
from service.commands import Kind
from tests.faults.injection import missing
from tests.faults.table import FAULTS, FIRST_START, Fault
from tests.faults.trials import Trials
from tests.postgres import PostgresService

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=f"no faults can be injected: {missing()}"),
    pytest.mark.timeout(1200),  # a minute, but twenty on a machine with a load of 30
]

RANKS = (1, 2, 3)
FIRST_CALL = {1: 20, 2: 90, 3: 160}
"""At which call of a run's first start something happens."""


def shared_out() -> dict[int, list[Fault]]:
    """Give each quick fault of a store in a file to one number of ranks: to the one with the fewest so far."""
    shares: dict[int, list[Fault]] = {ranks: [] for ranks in RANKS}
    for fault in sorted((fault for fault in FAULTS if fault.quick), key=lambda fault: -fault.least_ranks):
        possible = [ranks for ranks in RANKS if fault.is_possible(ranks, "sqlite")]
        if possible:
            shares[min(possible, key=lambda ranks: len(shares[ranks]))].append(fault)
    return shares


@pytest.mark.parametrize("ranks", RANKS)
def test_a_training_to_which_faults_happen_loses_nothing_and_ends_as_one_without(trials: Trials, ranks: int) -> None:
    trials.page.arm(FIRST_START[ranks % len(FIRST_START)], FIRST_CALL[ranks])

    assert trials.meet(ranks, shared_out()[ranks]) == []


def test_a_training_whose_postgresql_is_disturbed_loses_nothing_and_ends_as_one_without(
    trials: Trials, postgres: PostgresService
) -> None:
    faults = [fault for fault in FAULTS if fault.quick and fault.store == "postgresql"]

    assert trials.meet(1, faults, postgres) == []


def test_what_is_compared_at_the_end_misses_neither_a_record_nor_a_weight_nor_a_second_end(trials: Trials) -> None:
    """Otherwise the tests above could not fail."""
    training, reference = trials.copied_reference(1)
    assert final_complaints(training, reference) == []
    (training.root / "Statistik_40.json").unlink()
    halve_a_weight(training.root / "checkpoints" / checkpoint_name(training.options.max_steps))
    with closing(training.store()) as store:
        (run,) = store.runs.all()
        command = store.commands.submit(run.id, Kind.VALIDATE, {}, actor="tester", source="api")
        for _ in range(2):
            store.events.add(run.id, 1, "command", {**command.as_dict(), "state": "done"})

    found = final_complaints(training, reference)

    for text in ("Statistik_40.json is lost", "the last state differs in /stepper", "step 40 has no record",
                 f"command {command.id} ended 2 times", f"validate {command.id} never ended"):  # fmt: skip
        assert any(text in complaint for complaint in found), (text, found)


def halve_a_weight(folder: Path) -> None:
    """Change one tensor of a checkpoint, and write it as a whole one."""
    state = load(SavedState(step_in(folder.name) or 0, folder)).state
    next(iter(state["stepper"]["model"].values())).mul_(0.5)
    shutil.rmtree(folder)
    folder.mkdir()
    write_state(folder, step_in(folder.name) or 0, state, reason=Reason.FINAL, is_best=False)

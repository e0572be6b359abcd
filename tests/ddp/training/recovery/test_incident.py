"""The one event that says what happened before a restart."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.training.recovery import incident as module
from ddp.training.recovery.incident import Incident
from service.launcher.ranks.shared_states import INCIDENT

FAILURE = {"rank": 1, "pid": 4711, "how": "was ended by SIGKILL", "detected_at": 100.0}
SURVIVOR = {"rank": 0, "left_at": 101.0}


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, restarts: int, told: str | None = json.dumps(FAILURE)) -> None:
        monkeypatch.setattr(module.time, "time", lambda: 102.5)
        if told is None:
            monkeypatch.delenv(INCIDENT, raising=False)
        else:
            monkeypatch.setenv(INCIDENT, told)
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.first_steps = 0
        self.incident = Incident(World(RankEnvironment(restarts=restarts), torch.device("cpu")))
        self.incident.report_to(lambda kind, details: self.events.append((kind, details)), self.on_step)

    def on_step(self) -> None:
        self.first_steps += 1

    def details(self) -> Mapping[str, Any]:
        for _ in range(3):
            self.incident.note_step()
        ((kind, details),) = self.events
        assert (kind, self.first_steps) == ("recovered", 1)
        return details


def test_it_says_which_rank_ended_how_when_all_trained_again_and_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, restarts=1)
    bench.incident.resumed_from(147, SURVIVOR)
    bench.incident.note_reached(147)

    assert bench.details() == {
        **FAILURE, "training_at": 102.5, "seconds": 2.5, "source": "rank 0", "steps_lost": 0,
        "reason": "Rank 1 (process 4711) was ended by SIGKILL; all ranks train again 2.5 s later, from the state of "
        "rank 0, step 147; no step was lost.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "reached", "sentence", "lost"),
    [
        (100, 101, "from the state of step_0000100, step 100; 1 step was lost.", 1),
        (100, 147, "from the state of step_0000100, step 100; 47 steps were lost.", 47),
        (0, 9, "anew; 9 steps were lost.", 9),
        (100, None, "from the state of step_0000100, step 100.", None),
    ],
)
def test_where_a_checkpoint_served_it_says_how_many_steps_that_cost(
    monkeypatch: pytest.MonkeyPatch, step: int, reached: int | None, sentence: str, lost: int | None
) -> None:
    bench = Bench(monkeypatch, restarts=2)
    bench.incident.resumed_from(step, None)
    bench.incident.note_reached(reached)

    details = bench.details()

    assert details["steps_lost"] == lost
    assert details["reason"].endswith(f"; all ranks train again 2.5 s later, {sentence}")


@pytest.mark.parametrize("told", [None, "", "[1]", "{"])
def test_where_the_launcher_says_nothing_the_survivors_time_counts(
    monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    bench = Bench(monkeypatch, restarts=1, told=told)
    bench.incident.resumed_from(147, SURVIVOR)

    details = bench.details()

    assert (details["detected_at"], details["seconds"]) == (101.0, 1.5)
    assert details["reason"] == "A rank ended; all ranks train again 1.5 s later, from the state of rank 0, step 147."


def test_a_first_start_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, restarts=0)

    bench.incident.note_step()

    assert (bench.events, bench.first_steps) == ([], 0)

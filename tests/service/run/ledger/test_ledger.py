"""A run's ledger from events as a trainer writes them: what the time went to, and what happened."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.run.ledger.answer import LedgerAnswer, answer_of
from service.run.ledger.incident import Incident, IncidentKind, Recovery
from service.run.ledger.last_seen import LastSeen, last_seen_as_dict
from service.run.ledger.ledger import RunLedger
from service.run.ledger.time_spent import Activity, TimeSpent, TimeUse
from service.run.state import LEFT_BY_SIGNAL, RunState

T0 = 1_800_000_000.0


@dataclass(frozen=True)
class Told:
    """An event as the store has it."""

    time: float
    step: int
    kind: str
    details: Mapping[str, Any]


@dataclass
class Trainer:
    """A run that keeps its own books: which second went to what, and which step's work was kept."""

    now: float = T0
    step: int = 0
    state: str = RunState.RUNNING
    reason: str | None = None
    began_at: float = T0
    training_at: float | None = None
    spent: dict[Activity, float] = field(default_factory=lambda: defaultdict(float))
    events: list[Told] = field(default_factory=list)
    truth: dict[TimeUse, float] = field(default_factory=lambda: defaultdict(float))
    steps: list[float] = field(default_factory=list)
    """Seconds of each step of the present line."""
    checkpoints: list[int] = field(default_factory=list)
    starts: int = 0

    def tell(self, kind: str, details: Mapping[str, Any], step: int | None = None) -> None:
        self.events.append(Told(self.now, self.step if step is None else step, kind, details))

    def time_spent(self) -> TimeSpent:
        return TimeSpent(self.began_at, self.now, self.step, self.training_at, dict(self.spent))

    def row(self) -> dict[str, Any]:
        facts = {"time_spent": self.time_spent().as_dict()}
        return last_seen_as_dict(
            state=self.state, reason=self.reason, step=self.step, heartbeat_at=self.now, started_at=self.began_at,
            facts=facts,
        )  # fmt: skip

    def pass_time(self, activity: Activity, seconds: float) -> None:
        self.now += seconds
        self.spent[activity] += seconds
        if activity is not Activity.TRAINING:
            self.truth[TimeUse(activity.value)] += seconds

    def start(self, gap: float = 0.0, starting: float = 3.0, **about: Any) -> None:
        """Begin a start `gap` seconds after the last sign of life, at the newest checkpoint."""
        previous = self.row() if self.starts else None
        was_stopped = self.state == RunState.FINISHED or (self.state == RunState.STOPPED and self.reason is None)
        self.now += gap
        self.truth[TimeUse.STOPPED if was_stopped else TimeUse.DOWN] += gap
        self.starts += 1
        self.began_at, self.training_at, self.spent = self.now, None, defaultdict(float)
        self.state, self.reason = RunState.RUNNING, None
        details = {"began_at": self.began_at, "restarts": 0, "failure": None, **about, "previous": previous}
        self.tell("registered", details)
        self.go_back(self.checkpoints[-1] if self.checkpoints else 0)
        self.pass_time(Activity.STARTING, starting)
        self.tell("started", {"step": self.step, "world_size": about.get("world_size", 2)})

    def go_back(self, step: int) -> None:
        self.truth[TimeUse.REPEATED] += sum(self.steps[step:])
        del self.steps[step:]
        self.checkpoints = [saved for saved in self.checkpoints if saved <= step]
        self.step = step

    def make(self, *seconds: float) -> None:
        for one in seconds:
            self.pass_time(Activity.TRAINING, one)
            self.steps.append(one)
            self.step += 1
            self.training_at = self.training_at or self.now

    def save(self) -> None:
        spent = self.time_spent()
        self.pass_time(Activity.SAVING, 0.5)
        if self.step not in self.checkpoints:
            self.checkpoints.append(self.step)
        self.tell("checkpoint", {"checkpoint": f"step_{self.step:07d}", "time_spent": spent.as_dict()})

    def roll_back(self, step: int, reason: str = "a person asked for it") -> None:
        details = {"from_step": self.step, "checkpoint": f"step_{step:07d}", "reason": reason, "began_at": self.now}
        spent = self.time_spent().as_dict()
        self.go_back(step)
        self.pass_time(Activity.STARTING, 0.25)
        self.tell("rollback", {**details, "time_spent": spent})

    def expected(self) -> dict[TimeUse, float]:
        return {use: self.truth[use] + (sum(self.steps) if use is TimeUse.USEFUL else 0.0) for use in TimeUse}

    def answer(self, *, is_lost: bool = False) -> LedgerAnswer:
        ledger = RunLedger()
        for event in self.events:
            ledger.apply(event)
        return ledger.answer(LastSeen.parse(self.row()), is_lost=is_lost)


def check(trainer: Trainer) -> LedgerAnswer:
    """Every second is where the trainer's own books have it."""
    answer = trainer.answer()
    assert dict(answer.seconds) == pytest.approx(trainer.expected(), abs=0.05)
    assert answer.wall_seconds == pytest.approx(trainer.now - T0, abs=0.1)
    return answer


def test_a_run_without_trouble_has_no_incident_and_all_its_time_is_told() -> None:
    trainer = Trainer()
    trainer.start(starting=10.0)
    trainer.make(*[0.5] * 100)
    trainer.pass_time(Activity.VALIDATING, 20.0)
    trainer.save()
    trainer.pass_time(Activity.PAUSED, 19.5)

    answer = check(trainer)

    assert answer.useful_time_ratio == pytest.approx(0.5)
    assert (answer.incidents, answer.incident_counts, answer.steps_lost) == ((), {}, 0)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_every_second_is_counted_once_and_lost_steps_are_not_useful(seed: int) -> None:
    """Starts, crashes, stops, signals, rollbacks, saves and pauses in any order, of any length."""
    draw = random.Random(seed)
    trainer = Trainer()
    trainer.start()
    for _ in range(60):
        trainer.make(*(draw.uniform(0.1, 2.0) for _ in range(draw.randrange(12))))
        match draw.randrange(8):
            case 0 | 1:
                trainer.save()
            case 2:
                trainer.pass_time(draw.choice([Activity.VALIDATING, Activity.PAUSED]), draw.uniform(0, 30))
            case 3 if trainer.checkpoints:
                trainer.roll_back(draw.choice(trainer.checkpoints))
            case 4:
                trainer.start(gap=draw.uniform(0, 100))
            case 5:
                trainer.save()
                trainer.state, trainer.reason = draw.choice(
                    [(RunState.STOPPED, None), (RunState.STOPPED, LEFT_BY_SIGNAL), (RunState.FINISHED, None)]
                )
                trainer.start(gap=draw.uniform(0, 100))
            case 6:
                failure = {"rank": 1, "pid": 9, "how": "was ended by SIGKILL", "detected_at": trainer.now + 0.1}
                trainer.start(gap=1.0, restarts=1, failure=failure)

    answer = check(trainer)

    kinds = Counter(one.kind for one in answer.incidents)
    assert {kind.value: count for kind, count in kinds.items()} == dict(answer.incident_counts)
    assert answer.steps_lost == sum(one.steps_lost or 0 for one in answer.incidents)


def only(answer: LedgerAnswer) -> Incident:
    (incident,) = answer.incidents
    return incident


def test_a_killed_rank_is_named_by_the_launcher_and_a_survivor_loses_no_step() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 20)
    trainer.checkpoints.append(20)  # what the survivor left
    died_at = trainer.now
    failure = {"rank": 1, "pid": 77, "how": "was ended by SIGKILL", "detected_at": died_at + 0.25}
    trainer.start(gap=1.0, starting=0.5, restarts=1, failure=failure)
    during = only(trainer.answer())
    assert (during.kind, during.is_over, during.training_at) == (IncidentKind.RANK_KILLED, False, None)
    trainer.make(1.0)
    details = {**failure, "training_at": trainer.now, "source": "rank 0", "steps_lost": 0}
    trainer.tell("recovered", details)
    trainer.make(*[1.0] * 4)

    incident = only(check(trainer))

    assert incident == Incident(
        IncidentKind.RANK_KILLED, detected_at=died_at + 0.25, named_at=died_at + 0.25, training_at=died_at + 2.5,
        step=20, steps_lost=0, ranks=(1,), recovery=Recovery.SURVIVOR, source="rank 0", named_by="launcher",
        reason="Rank 1 (process 77) was ended by SIGKILL.", is_over=True,
    )  # fmt: skip
    assert incident.recovery_seconds == pytest.approx(2.25)


def test_a_restart_from_a_checkpoint_costs_the_steps_since_and_their_time() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 10)
    trainer.save()
    trainer.make(*[2.0] * 7)
    trainer.start(gap=4.0, restarts=1)
    trainer.make(1.0)
    trainer.tell("recovered", {"training_at": trainer.now, "source": "step_0000010", "steps_lost": 7})

    answer = check(trainer)

    incident = only(answer)
    assert (incident.kind, incident.ranks, incident.named_by) == (IncidentKind.RESTART, None, None)
    assert (incident.steps_lost, incident.recovery, incident.source) == (7, Recovery.CHECKPOINT, "step_0000010")
    assert answer.seconds[TimeUse.REPEATED] == pytest.approx(14.0)
    assert answer.steps_lost == 7


def test_a_rank_that_is_killed_again_during_the_recovery_is_a_second_incident_that_loses_nothing_more() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 10)
    trainer.save()
    trainer.make(*[1.0] * 3)
    killed = {"pid": 9, "how": "was ended by SIGKILL", "detected_at": trainer.now}
    trainer.start(gap=1.0, restarts=1, failure={"rank": 1, **killed})
    trainer.start(gap=1.0, restarts=2, failure={"rank": 0, **killed, "detected_at": trainer.now})
    trainer.make(1.0)
    trainer.tell("recovered", {"training_at": trainer.now, "source": "step_0000010", "steps_lost": 3})

    answer = check(trainer)

    assert [(one.ranks, one.steps_lost, one.training_at) for one in answer.incidents] == [
        ((0,), 0, trainer.now), ((1,), 3, trainer.now),
    ]  # fmt: skip
    assert answer.steps_lost == 3


def test_a_restart_with_fewer_ranks_is_a_lost_machine_which_the_watchdog_named() -> None:
    trainer = Trainer()
    trainer.start(world_size=4)
    trainer.make(*[1.0] * 10)
    trainer.save()
    silent_since = trainer.now
    trainer.pass_time(Activity.TRAINING, 60.0)
    stall = {"rank": 2, "also": [3], "stage": "all-reduce", "seconds": 60.0, "reason": "Rank 2 (b) has been silent."}
    trainer.tell("stalled", stall)
    trainer.truth[TimeUse.STALLED] += 60.0
    failure = {"rank": 0, "pid": 5, "how": "ended with exit code 1", "detected_at": trainer.now + 40}
    trainer.start(gap=50.0, restarts=1, failure=failure, world_size=2)
    trainer.make(1.0)
    trainer.tell("recovered", {**failure, "training_at": trainer.now, "source": "step_0000010", "steps_lost": 0})

    answer = check(trainer)

    incident = only(answer)
    assert (incident.kind, incident.ranks, incident.named_by) == (IncidentKind.MACHINE_LOST, (2,), "watchdog")
    assert (incident.began_at, incident.detected_at) == (silent_since, silent_since + 60)
    assert incident.training_at == trainer.now
    assert answer.incident_counts == {"machine_lost": 1}


@pytest.mark.parametrize(("state", "named_by"), [(RunState.FAILED, "trainer"), (RunState.RUNNING, "start")])
def test_a_trainer_that_was_down_is_an_incident_which_ends_with_the_first_step(state: RunState, named_by: str) -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 5)
    trainer.state, trainer.reason = state, "no space left" if state is RunState.FAILED else None
    gone_at = trainer.now
    trainer.start(gap=100.0)
    trainer.make(1.0)

    incident = only(check(trainer))

    assert (incident.kind, incident.named_by) == (IncidentKind.TRAINER_DOWN, named_by)
    assert incident.began_at == gone_at
    assert incident.detected_at == (gone_at if state is RunState.FAILED else gone_at + 100.0)
    assert incident.training_at == trainer.now
    assert (incident.steps_lost, incident.recovery, incident.is_over) == (5, Recovery.BEGINNING, True)


def test_the_alert_that_a_trainer_is_lost_has_detected_it() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(1.0)
    trainer.events.append(Told(trainer.now + 30, 1, "alert", {"name": "lost", "is_on": True}))
    trainer.events.append(Told(trainer.now + 90, 1, "alert", {"name": "disk", "is_on": True}))
    gone_at = trainer.now
    trainer.start(gap=100.0)
    trainer.make(1.0)

    incident = only(check(trainer))

    assert (incident.detected_at, incident.named_by) == (gone_at + 30, "alert")


@pytest.mark.parametrize(
    ("state", "reason", "use"),
    [
        (RunState.STOPPED, None, TimeUse.STOPPED), (RunState.FINISHED, None, TimeUse.STOPPED),
        (RunState.STOPPED, LEFT_BY_SIGNAL, TimeUse.DOWN),
    ],
)  # fmt: skip
def test_who_asked_for_the_end_tells_whether_the_time_until_the_next_start_is_down_or_stopped(
    state: RunState, reason: str | None, use: TimeUse
) -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(1.0)
    trainer.save()
    trainer.state, trainer.reason = state, reason
    trainer.start(gap=1000.0)

    answer = check(trainer)

    assert answer.seconds[use] == pytest.approx(1000.0)
    assert answer.incidents == ()


def test_a_stall_is_taken_from_what_it_held_up_and_ends_when_the_rank_moves() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 5)
    began_at = trainer.now
    trainer.pass_time(Activity.TRAINING, 8.0)
    trainer.tell("stalled", {"rank": 1, "stage": "data", "seconds": 8.0, "reason": "Rank 1 has been in stage data."})
    lasting = only(trainer.answer())
    assert (lasting.is_over, lasting.began_at, lasting.ranks) == (False, began_at, (1,))
    assert trainer.answer().seconds[TimeUse.STALLED] == pytest.approx(8.0)
    trainer.pass_time(Activity.TRAINING, 4.0)
    trainer.tell("going on", {"rank": 1, "stage": "data", "seconds": 12.0, "reason": "Rank 1 goes on after 12 s."})
    trainer.truth[TimeUse.STALLED] += 12.0
    trainer.make(*[1.0] * 5)

    incident = only(check(trainer))

    assert (incident.kind, incident.is_over, incident.steps_lost) == (IncidentKind.STALL, True, 0)
    assert (incident.recovery, incident.training_at) == (Recovery.UNHARMED, began_at + 12.0)


def test_a_stall_in_a_validation_is_not_taken_from_steps() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(1.0)
    trainer.pass_time(Activity.VALIDATING, 10.0)
    trainer.tell("stalled", {"rank": 0, "stage": "validation", "seconds": 6.0})
    trainer.tell("going on", {"rank": 0, "stage": "validation", "seconds": 6.0})
    trainer.truth[TimeUse.STALLED] += 6.0
    trainer.truth[TimeUse.VALIDATING] -= 6.0

    check(trainer)


def test_a_rollback_tells_who_wanted_it_and_what_it_gave_up() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 10)
    trainer.save()
    trainer.make(*[1.0] * 6)
    asked_at = trainer.now
    trainer.roll_back(10)
    trainer.make(*[1.0] * 3)
    trainer.roll_back(10, reason="3 steps in a row, from step 11 on, were not finite")

    answer = check(trainer)

    newest, oldest = answer.incidents
    assert (oldest.steps_lost, oldest.named_by, oldest.source) == (6, "person", "step_0000010")
    assert (oldest.detected_at, oldest.training_at, oldest.step) == (asked_at, asked_at + 0.25, 16)
    assert (newest.steps_lost, newest.named_by) == (3, "trainer")
    assert answer.steps_lost == 9


def test_a_trainer_that_gives_no_sign_of_life_is_an_incident_that_lasts() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(1.0)

    answer = trainer.answer(is_lost=True)

    incident = only(answer)
    assert (incident.kind, incident.is_over, incident.began_at) == (IncidentKind.TRAINER_DOWN, False, trainer.now)
    assert answer.incident_counts == {"trainer_down": 1}
    assert trainer.answer().incidents == ()


def test_a_start_that_ends_before_it_reports_anything_was_starting() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(1.0)
    old = trainer.row()["time_spent"]
    trainer.start(gap=10.0, starting=0.0)
    stale = {**trainer.row(), "time_spent": old, "heartbeat_at": trainer.now + 2.0}
    trainer.now += 5.0
    trainer.tell("registered", {"began_at": trainer.now, "restarts": 0, "previous": stale})
    trainer.began_at, trainer.spent, trainer.training_at = trainer.now, defaultdict(float), None

    answer = trainer.answer()

    assert answer.seconds[TimeUse.STARTING] == pytest.approx(3.0 + 2.0)
    assert answer.seconds[TimeUse.DOWN] == pytest.approx(10.0 + 3.0)


# Runs from before, and stores that know less


def old_row(state: str = RunState.RUNNING, heartbeat_at: float = T0 + 500) -> LastSeen:
    seen = LastSeen.parse(
        last_seen_as_dict(
            state=state, reason=None, step=400, heartbeat_at=heartbeat_at, started_at=T0 + 100, facts={"stalls": 1}
        )
    )
    assert seen is not None
    return seen


def fold(*events: Told) -> RunLedger:
    ledger = RunLedger()
    for event in events:
        ledger.apply(event)
    return ledger


def test_of_a_run_of_an_earlier_version_the_time_is_unknown_and_its_incidents_are_known() -> None:
    recovered = {"rank": 1, "pid": 4, "how": "was ended by SIGKILL", "detected_at": T0 + 98, "training_at": T0 + 101}
    rolled = {"from_step": 300, "checkpoint": "step_0000200", "reason": "a person asked for it"}
    ledger = fold(
        Told(T0, 0, "started", {"step": 0, "world_size": 2}),
        Told(T0 + 100, 50, "started", {"step": 50, "world_size": 2}),
        Told(T0 + 101, 51, "recovered", {**recovered, "source": "step_0000050", "steps_lost": 7}),
        Told(T0 + 300, 200, "rollback", rolled),
    )

    answer = ledger.answer(old_row())

    assert answer.useful_time_ratio is None
    assert answer.seconds[TimeUse.UNKNOWN] == answer.wall_seconds == pytest.approx(500.0)
    newest, oldest = answer.incidents
    assert (oldest.kind, oldest.ranks, oldest.steps_lost) == (IncidentKind.RANK_KILLED, (1,), 7)
    assert (oldest.detected_at, oldest.training_at, oldest.source) == (T0 + 98, T0 + 101, "step_0000050")
    assert (newest.kind, newest.steps_lost, newest.detected_at) == (IncidentKind.ROLLBACK, 100, T0 + 300)


def test_a_run_that_goes_on_under_this_version_has_a_ratio_of_the_time_that_is_known() -> None:
    trainer = Trainer(now=T0 + 600, step=400)
    trainer.events.append(Told(T0, 0, "started", {"step": 0, "world_size": 2}))
    previous = {
        "state": RunState.STOPPED, "reason": None, "step": 400, "heartbeat_at": T0 + 500, "started_at": T0,
        "time_spent": None,
    }  # fmt: skip
    trainer.began_at = trainer.now
    trainer.tell("registered", {"began_at": trainer.now, "restarts": 0, "previous": previous})
    trainer.tell("started", {"step": 400, "world_size": 2})
    trainer.pass_time(Activity.STARTING, 10.0)
    trainer.make(*[1.0] * 30)

    answer = trainer.answer()

    assert answer.seconds[TimeUse.UNKNOWN] == pytest.approx(500.0)
    assert answer.seconds[TimeUse.STOPPED] == pytest.approx(100.0)
    assert answer.useful_time_ratio == pytest.approx(30 / 140)
    assert answer.wall_seconds == pytest.approx(640)


def test_a_store_that_took_the_place_of_another_knows_the_present_start_from_its_row() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 10)
    trainer.events = [Told(trainer.now, 10, "store replaced", {"first_step": 0})]
    trainer.save()
    trainer.make(*[1.0] * 6)
    trainer.roll_back(10)

    check(trainer)


def test_an_earlier_version_that_continues_a_run_leaves_its_time_unknown() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 10)
    trainer.save()
    saved_at = trainer.now - 0.5
    ledger = fold(*trainer.events, Told(T0 + 100, 10, "started", {"step": 10, "world_size": 2}))

    answer = ledger.answer(old_row(heartbeat_at=T0 + 150))

    assert answer.seconds[TimeUse.USEFUL] == pytest.approx(10.0)
    assert answer.seconds[TimeUse.UNKNOWN] == pytest.approx(T0 + 100 - saved_at + 50)


@pytest.mark.parametrize(
    "details", [{}, {"began_at": "x", "previous": 3}, {"time_spent": [1]}, {"seconds": None, "rank": "a"}, {"step": {}}]
)
@pytest.mark.parametrize(
    "kind", ["registered", "started", "checkpoint", "rollback", "stalled", "going on", "recovered", "alert", "other"]
)
def test_an_event_of_another_shape_is_understood_as_far_as_it_can_be(kind: str, details: Mapping[str, Any]) -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(1.0)
    trainer.tell(kind, details)
    trainer.tell(kind, details)
    trainer.make(1.0)

    answer = trainer.answer()

    assert all(seconds >= 0 for seconds in answer.seconds.values())
    assert all(one.as_dict() for one in answer.incidents)


def test_without_a_run_nothing_is_known() -> None:
    answer = RunLedger().answer(None)

    assert (answer.useful_time_ratio, answer.wall_seconds, answer.incidents) == (None, 0.0, ())


def test_an_answer_of_state_gives_the_same_ledger_again() -> None:
    trainer = Trainer()
    trainer.start()
    trainer.make(*[1.0] * 10)
    trainer.save()
    trainer.roll_back(10)
    answer = trainer.answer()

    assert answer_of(json.loads(json.dumps(answer.in_state))) == answer
    assert answer.in_state["useful_time_ratio"] == pytest.approx(answer.useful_time_ratio, abs=1e-6)
    assert answer_of({}) is None

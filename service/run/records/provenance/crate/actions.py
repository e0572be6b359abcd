"""The actions of a crate: what ran, when, by whom, from what, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.commands import CommandState, Kind, outcome_sentence
from service.run.records.provenance.crate.entities import (
    SOFTWARE,
    Entity,
    entity,
    moment,
    person,
    reference,
    references,
)
from service.run.records.provenance.crate.parts import Parts, record_of
from service.run.state import RunState

MAX_COMMANDS = 1000
TYPES = {Kind.VALIDATE: "CreateAction", Kind.CHECKPOINT: "CreateAction"}
"""Type of a command's action; the others change the run, which is an update."""
STATUS = {
    CommandState.DONE: "CompletedActionStatus",
    CommandState.FAILED: "FailedActionStatus",
    CommandState.REJECTED: "FailedActionStatus",
    CommandState.EXPIRED: "FailedActionStatus",
    CommandState.CANCELLED: "FailedActionStatus",
}
RUN_STATUS = {
    RunState.FINISHED: "CompletedActionStatus",
    RunState.STOPPED: "CompletedActionStatus",
    RunState.FAILED: "FailedActionStatus",
    RunState.LOST: "FailedActionStatus",
}


@dataclass(frozen=True)
class Start:
    """A start of the trainer at Unix time `began_at` (None: not known), after `step`, from a provenance."""

    began_at: float | None
    step: int
    world_size: int | None = None
    provenance: str | None = None
    user: str | None = None


@dataclass(frozen=True)
class RunEnd:
    """How the run stands: its state, why, and until when (Unix seconds) it was heard of."""

    state: str = ""
    reason: str | None = None
    heard_at: float | None = None


def start_actions(starts: Sequence[Start], end: RunEnd, parts: Parts) -> Iterator[tuple[Entity, list[Entity]]]:
    """Yield an action per start, with the entities of who began it."""
    for number, start in enumerate(starts, start=1):
        following = starts[number] if number < len(starts) else None
        until = float("inf") if following is None else following.step
        results = [identifier for step, identifier in parts.records.items() if start.step < step <= until]
        inputs = [parts.provenances.get(start.provenance or ""), "config.json" if following is None else None]
        known = [name for name in inputs if name in parts.entities]
        agents = [person(start.user)] if start.user else []
        yield _start_action(number, start, end if following is None else None, known, results, agents), agents


def _start_action(
    number: int, start: Start, end: RunEnd | None, inputs: Sequence[Any], results: list[str], agents: list[Entity]
) -> Entity:
    ranks = "" if start.world_size is None else f" on {start.world_size} rank{'s' * (start.world_size != 1)}"
    state = None if end is None or end.state not in [*RunState] else RunState(end.state)
    status = RUN_STATUS.get(state, "ActiveActionStatus") if state is not None else None
    return entity(
        f"#start-{number}",
        "CreateAction",
        name=f"Training from step {start.step}{ranks}",
        description=f"Start {number} of the run: optimizer steps from {start.step} on, with their validations",
        instrument=reference(SOFTWARE),
        agent=reference(agents[0]["@id"]) if agents else None,
        startTime=moment(start.began_at),
        endTime=None if end is None or status == "ActiveActionStatus" else moment(end.heard_at),
        actionStatus=None if status is None else f"http://schema.org/{status}",
        error=end.reason if end is not None and status == "FailedActionStatus" else None,
        object=references(inputs),
        result=references(results),
    )


def command_actions(commands: Sequence[Mapping[str, Any]], parts: Parts) -> Iterator[tuple[Entity, list[Entity]]]:
    """Yield an action per command that ended, the newest MAX_COMMANDS, with the entities of who gave it.

    `commands` are in the order of their ends, as the API answers them.
    """
    for command in commands[-MAX_COMMANDS:]:
        agents = [person(str(command["actor"]))] if command.get("actor") else []
        yield _command_action(command, parts, agents), agents


def _command_action(command: Mapping[str, Any], parts: Parts, agents: list[Entity]) -> Entity:
    kind, state, result = Kind(command["kind"]), CommandState(command["state"]), command.get("result") or {}
    made = [record_of(parts, result), parts.checkpoints.get(str(result.get("checkpoint")))]
    changed = [] if kind in TYPES else [name for name in ("config.json",) if name in parts.entities]
    status = STATUS[state]
    sentence = outcome_sentence(kind, state, command.get("step"), result, command.get("reason"), command.get("why"))
    arguments = ", ".join(f"{name}={value}" for name, value in (command.get("arguments") or {}).items())
    return entity(
        f"#command-{command['id']}",
        TYPES.get(kind, "UpdateAction"),
        name=f"{kind} {arguments}".strip(),
        description=sentence,
        instrument=reference(SOFTWARE),
        agent=reference(agents[0]["@id"]) if agents else None,
        startTime=moment(command.get("started_at") or command.get("created_at")),
        endTime=moment(command.get("finished_at")),
        actionStatus=f"http://schema.org/{status}",
        error=command.get("reason") if status == "FailedActionStatus" else None,
        object=references(changed),
        result=references(name for name in (made if kind in TYPES else changed) if name),
    )

"""From the events of a run to the interventions that made it what it is now.

Steps that a restart repeated are not part of it, and what was done at them neither: it was lost with them. Steps that a
rollback abandoned are: the rollback itself is an intervention.
"""

from bisect import insort_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from service.commands import CommandState, Kind
from service.config.live_settings import ADAPTIVE, PINNABLE
from service.run.records.provenance.replay.file import REPLAYED, Intervention, Position, ReplayFile

BY_A_PERSON = "a person asked for it"
"""The reason of a rollback that is in no other event of its kind."""
REPLAY = "replay"
"""The actor of what only a replay needs."""

Event = tuple[int, str, Mapping[str, Any]]
"""Step, kind and details."""


class Lineage:
    """The interventions of a run, made from its events in their order."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """`settings` are those of the run's start, by upper-case names."""
        self._settings = settings
        self._begin: Position | None = None
        self._branch = 0
        self._step = 0
        self._items: list[Intervention] = []
        self._stops: set[Position] = set()
        self._left_out: Counter[str] = Counter()
        self._remarks: list[str] = []
        self._world_size: int | None = None
        self._provenance: str | None = None

    def add(self, step: int, kind: str, details: Mapping[str, Any]) -> None:
        """Take the next event."""
        if kind == "started":
            self._add_start(step, details)
        elif kind == "set":
            self._items.append(Intervention(Kind.SET, Position(self._branch, step), dict(details)))
        elif kind == "rollback":
            self._add_rollback(step, details)
        elif kind == "command" and details.get("state") == CommandState.DONE:
            self._add_command(details)
        self._step = max(self._step, step) if kind not in ("started", "rollback") else step

    def file(self, run_id: str, last_step: int, made_with: Mapping[str, Any], version: str) -> ReplayFile:
        """Return the file of what was taken; the run has made `last_step` steps."""
        begin = self._begin or Position(0, 0)
        items = self._with_targets(begin)
        return ReplayFile(
            run_id=run_id,
            begin=begin,
            end=max(Position(self._branch, last_step), items[-1].at if items else begin),
            interventions=tuple(items),
            made_with=made_with,
            left_out=dict(sorted(self._left_out.items())),
            remarks=tuple(self._remarks),
            version=version,
        )

    # Starts

    def _add_start(self, step: int, details: Mapping[str, Any]) -> None:
        branch = details.get("branch_id")
        at = Position(branch if isinstance(branch, int) else self._branch, step)
        if self._begin is None:
            self._begin = at
        else:
            self._drop_lost(at, details.get("changes"))
            self._compare_start(at, details)
        self._branch = at.branch
        self._world_size, self._provenance = details.get("world_size"), details.get("provenance")

    def _drop_lost(self, at: Position, changes: Any) -> None:
        """Remove what was done at steps that the start repeats; `changes` are the settings in force after it."""
        kept = [item for item in self._items if item.at < at or (item.at == at and self._survives(item, changes))]
        lost = len(self._items) - len(kept)
        if lost:
            what = "intervention was" if lost == 1 else "interventions were"
            self._remarks.append(f"{lost} {what} lost when the run began again at {at}, and not repeated by it.")
        if not isinstance(changes, Mapping) and any(item.at == at and item.kind is Kind.SET for item in kept):
            self._remarks.append(f"Whether settings changed at {at} survived the start there is not known; they stay.")
        self._items = kept

    def _survives(self, item: Intervention, changes: Any) -> bool:
        """Return whether an intervention at the very step of a start is part of the state that it began with."""
        if item.kind is Kind.ROLLBACK:
            return False
        if item.kind is not Kind.SET or not isinstance(changes, Mapping):
            return True
        return all(changes.get(name, self._at_start(name)) == value for name, value in item.arguments.items())

    def _at_start(self, name: str) -> Any:
        return ADAPTIVE if name in PINNABLE else self._settings.get(name)

    def _compare_start(self, at: Position, details: Mapping[str, Any]) -> None:
        if details.get("world_size") != self._world_size:
            ranks = f"{details.get('world_size')} ranks, before {self._world_size}"
            self._remarks.append(f"From {at} on it ran with {ranks}.")
        elif details.get("provenance") != self._provenance:
            self._remarks.append(f"The start at {at} was made otherwise than the one before; see its provenance.")

    # Interventions

    def _add_rollback(self, step: int, details: Mapping[str, Any]) -> None:
        at = Position(self._branch, int(details["from_step"]))
        is_automatic = details.get("reason") != BY_A_PERSON
        arguments = {"checkpoint": str(details["checkpoint"])}
        actor = "trainer" if is_automatic else "unknown"
        why = str(details.get("reason")) if is_automatic else None
        self._items.append(Intervention(Kind.ROLLBACK, at, arguments, actor, why, is_automatic=is_automatic))
        self._branch, self._step = int(details.get("branch_id", self._branch + 1)), step

    def _add_command(self, details: Mapping[str, Any]) -> None:
        kind, step = Kind(details["kind"]), details.get("step")
        if step is None:
            return
        at = Position(self._branch, int(step))
        if kind not in REPLAYED:
            self._left_out[kind.value] += 1
            if kind is Kind.STOP:
                self._stops.add(at)
        elif kind in (Kind.SET, Kind.ROLLBACK):
            self._name(kind, details)
        else:
            item = Intervention(kind, at)
            insort_right(self._items, _signed(item, details), key=lambda other: other.at)

    def _name(self, kind: Kind, details: Mapping[str, Any]) -> None:
        """Say of a change or a rollback who asked for it: its command ends right after it."""
        for index, item in reversed([*enumerate(self._items)]):
            if item.kind is kind and not item.is_automatic and item.command_id is None and _is_of(item, details):
                self._items[index] = _signed(item, details)
                return

    # Checkpoints to return to

    def _with_targets(self, begin: Position) -> list[Intervention]:
        """Return the interventions, and a checkpoint at each step to which a rollback returns.

        In the original it may have been saved for another reason (best, a signal), or be removed since.
        """
        items = list(self._items)
        starts = {begin.branch: begin.step}
        for item in self._items:
            if item.kind is not Kind.ROLLBACK:
                continue
            step = item.rollback_step
            branches = (branch for branch, first in starts.items() if branch <= item.at.branch and first <= step)
            at = Position(max(branches, default=-1), step)
            if at.branch >= 0 and starts[at.branch] < step:
                _insert_target(items, at, item, is_last=at in self._stops)
            starts[item.at.branch + 1] = step
        return items


def _insert_target(items: list[Intervention], at: Position, rollback: Intervention, *, is_last: bool) -> None:
    """Insert a checkpoint where the original saved one: before what people did at that step, or after it."""
    here = [index for index, item in enumerate(items) if item.at == at]
    if any(items[index].kind is Kind.CHECKPOINT for index in here):
        return
    validated = [index for index in here if items[index].kind is Kind.VALIDATE]
    if is_last and here:
        place = here[-1] + 1
    elif validated:
        place = validated[0] + 1
    else:
        place = next((index for index, item in enumerate(items) if item.at >= at), len(items))
    why = f"the rollback at {rollback.at} returns to it"
    items.insert(place, Intervention(Kind.CHECKPOINT, at, {}, REPLAY, why))


def _is_of(item: Intervention, details: Mapping[str, Any]) -> bool:
    """Return whether an event's effect is that of a command which ended."""
    if item.kind is Kind.SET:
        return item.at.step == details.get("step") and dict(item.arguments) == dict(details.get("arguments") or {})
    return item.at.step == (details.get("result") or {}).get("from_step")


def _signed(item: Intervention, details: Mapping[str, Any]) -> Intervention:
    why = details.get("why")
    return replace(
        item,
        actor=str(details.get("actor") or "unknown"),
        why=None if why is None else str(why),
        command_id=str(details.get("id")),
    )

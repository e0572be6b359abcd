"""The incidents of a run, from its events in their order."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from service.run.ledger.incident import Incident, IncidentKind, Recovery
from service.run.ledger.last_seen import LastSeen
from service.run.ledger.time_spent import number
from service.run.records.provenance.replay.lineage import BY_A_PERSON

MAX_KEPT = 400
"""Most incidents that are kept in full; all are counted."""
BY_SIGNAL = "was ended by"
"""Beginning of how a process ended that a signal killed."""
_RESTARTS = frozenset({IncidentKind.RANK_KILLED, IncidentKind.RESTART, IncidentKind.MACHINE_LOST})
_STARTS = _RESTARTS | {IncidentKind.TRAINER_DOWN}

Details = Mapping[str, Any]


class IncidentLog:
    """All incidents so far: those that are over, and those that last."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.steps_lost = 0
        self._over: deque[Incident] = deque(maxlen=MAX_KEPT)
        self._open: list[Incident] = []
        self._alert_at: float | None = None
        self._world_size: int | None = None

    def incidents(self, seen: LastSeen | None, training_at: float | None, *, is_lost: bool) -> list[Incident]:
        """Return the incidents as of now, the newest first.

        `seen` is what is known of the present start, which trains since `training_at`. `is_lost` if it gives no sign of
        life.
        """
        last = [_as_of(one, training_at) for one in self._open]
        if (end := self._present_end(seen, is_lost)) is not None:
            last.append(end)
        return [*reversed(last), *reversed(self._over)]

    def present_counts(self, seen: LastSeen | None, *, is_lost: bool) -> Mapping[str, int]:
        """Return how many incidents there were of each kind, with one that has just begun."""
        end = self._present_end(seen, is_lost)
        return self.counts if end is None else self.counts + Counter({end.kind.value: 1})

    def _present_end(self, seen: LastSeen | None, is_lost: bool) -> Incident | None:
        """Return the incident that the trainer is gone now, which only its next start will record."""
        if seen is None or not (is_lost or seen.state == "failed"):
            return None
        return self._trainer_down(seen, None)

    # Events

    def registered(self, at: float, details: Details, previous: LastSeen | None) -> None:
        """Take in that ranks were started again, at the Unix time `at`, after `previous`."""
        failure = details.get("failure")
        if details.get("restarts"):
            self._begin(_restart(failure if isinstance(failure, Mapping) else {}, previous))
        elif previous is not None and not previous.was_orderly:
            self._begin(self._trainer_down(previous, at))
        self._alert_at = None

    def _trainer_down(self, previous: LastSeen, started_at: float | None) -> Incident:
        """Return that a trainer was gone, which an error, an alert or the next start has shown."""
        has_failed = previous.state == "failed"
        seen_at = previous.heartbeat_at if has_failed else self._alert_at or started_at
        named_by = "trainer" if has_failed else "alert" if self._alert_at is not None else "start"
        return Incident(
            IncidentKind.TRAINER_DOWN,
            began_at=previous.heartbeat_at,
            detected_at=seen_at,
            named_at=seen_at,
            step=previous.step,
            named_by=None if seen_at is None else named_by,
            reason=previous.reason if has_failed else None,
        )

    def alert(self, at: float, details: Details) -> None:
        """Take in that an alert has begun: the first that says that the trainer is gone has detected that."""
        if details.get("is_on") and details.get("name") == "lost" and self._alert_at is None:
            self._alert_at = at

    def started(self, step: int, world_size: Any) -> None:
        """Take in at which step all ranks go on, and how many they are."""
        has_fewer = isinstance(world_size, int) and self._world_size is not None and world_size < self._world_size
        if has_fewer:
            self._name_lost_machine()
        self._world_size = world_size if isinstance(world_size, int) else None
        for index, one in enumerate(self._open):
            if one.kind in _STARTS and one.steps_lost is None:
                lost = None if one.step is None else max(0, one.step - step)
                is_first = all(other.kind not in _STARTS for other in self._open[:index])
                recovery = Recovery.CHECKPOINT if step else Recovery.BEGINNING
                source = f"step_{step:07d}" if step else None
                one = replace(one, steps_lost=lost if is_first else 0, recovery=recovery, source=source)
                self._open[index] = one
                self.steps_lost += one.steps_lost or 0

    def _name_lost_machine(self) -> None:
        """A restart with fewer ranks than before: those that the watchdog had missed are the lost machine's."""
        stall = next((one for one in self._open if one.kind is IncidentKind.STALL), None)
        restart = next((one for one in self._open if one.kind in _RESTARTS), None)
        if restart is None:
            return
        lost = replace(restart, kind=IncidentKind.MACHINE_LOST, ranks=None)
        if stall is not None:
            lost = replace(
                lost, ranks=stall.ranks, began_at=stall.began_at, detected_at=stall.detected_at,
                named_at=stall.named_at, named_by=stall.named_by, reason=stall.reason,
            )  # fmt: skip
            self._drop(stall)
        self._drop(restart)
        self._begin(lost)

    def recovered(self, at: float, details: Details) -> None:
        """Take in what a trainer says of the restart before it, once it trains again."""
        if not any(one.kind in _RESTARTS for one in self._open):  # the event of an earlier version
            self._begin(_restart(details, None))
        for index, one in enumerate(self._open):
            if one.kind in _RESTARTS:
                self._open[index] = completed = _completed(one, details)
                self.steps_lost += 0 if one.steps_lost is not None else completed.steps_lost or 0
        training_at = number(details.get("training_at"))
        self.training(at if training_at is None else training_at)

    def training(self, at: float) -> None:
        """Take in that all ranks train again since this Unix time: what lasted is over."""
        present = [_as_of(one, at) for one in self._open]
        self._over.extend(one for one in present if one.is_over)
        self._open = [one for one in present if not one.is_over]

    def stalled(self, at: float, step: int, details: Details) -> None:
        """Take in that a rank was found to hang."""
        seconds, rank, ranks = number(details.get("seconds")), details.get("rank"), details.get("ranks")
        named = tuple(one for one in (ranks if isinstance(ranks, list) else [rank]) if isinstance(one, int))
        reason = details.get("reason")
        self._begin(
            Incident(
                IncidentKind.STALL,
                began_at=None if seconds is None else at - seconds,
                detected_at=at,
                named_at=at,
                step=step,
                ranks=named or None,
                named_by="watchdog",
                reason=reason if isinstance(reason, str) else None,
            )
        )

    def going_on(self, at: float) -> None:
        """Take in that the rank that was found to hang moves again."""
        for one in [one for one in self._open if one.kind is IncidentKind.STALL]:
            self._open.remove(one)
            self._over.append(_over(replace(one, steps_lost=0, recovery=Recovery.UNHARMED), at))

    def rolled_back(self, at: float, step: int, details: Details) -> None:
        """Take in that the run went back to `step`."""
        from_step, reason, checkpoint = (details.get(key) for key in ("from_step", "reason", "checkpoint"))
        began_at = number(details.get("began_at"))
        lost = max(0, from_step - step) if isinstance(from_step, int) else None
        self.steps_lost += lost or 0
        self.counts[IncidentKind.ROLLBACK.value] += 1
        self._over.append(
            Incident(
                IncidentKind.ROLLBACK,
                began_at=began_at,
                detected_at=at if began_at is None else began_at,
                named_at=at if began_at is None else began_at,
                training_at=at,
                step=from_step if isinstance(from_step, int) else None,
                steps_lost=lost,
                recovery=Recovery.CHECKPOINT,
                source=checkpoint if isinstance(checkpoint, str) else None,
                named_by="person" if reason == BY_A_PERSON else "trainer",
                reason=reason if isinstance(reason, str) else None,
                is_over=True,
            )
        )

    def _drop(self, incident: Incident) -> None:
        self._open.remove(incident)
        self.counts[incident.kind.value] -= 1

    def _begin(self, incident: Incident) -> None:
        self._open.append(incident)
        self.counts[incident.kind.value] += 1


def _restart(failure: Details, previous: LastSeen | None) -> Incident:
    """Return the incident of a restart by the launcher, which says which rank failed and how, or nothing."""
    how, rank, detected_at = failure.get("how"), failure.get("rank"), number(failure.get("detected_at"))
    is_named = isinstance(how, str) and isinstance(rank, int)
    is_killed = is_named and str(how).startswith(BY_SIGNAL)
    return Incident(
        IncidentKind.RANK_KILLED if is_killed else IncidentKind.RESTART,
        detected_at=detected_at,
        named_at=detected_at if is_named else None,
        step=None if previous is None else previous.step,
        ranks=(rank,) if isinstance(rank, int) else None,
        named_by="launcher" if is_named else None,
        reason=f"Rank {rank} (process {failure.get('pid')}) {how}." if is_named else None,
    )


def _completed(one: Incident, details: Details) -> Incident:
    """Return the incident of a restart with what the trainer says of it afterwards."""
    lost, source = details.get("steps_lost"), details.get("source")
    if isinstance(source, str) and source.startswith("rank "):
        one = replace(one, recovery=Recovery.SURVIVOR, source=source)
    elif one.recovery is None:
        recovery = Recovery.CHECKPOINT if isinstance(source, str) else Recovery.BEGINNING
        one = replace(one, recovery=recovery, source=source if isinstance(source, str) else None)
    if one.steps_lost is None and isinstance(lost, int):
        one = replace(one, steps_lost=lost)
    if one.detected_at is None:
        one = replace(one, detected_at=number(details.get("detected_at")))
    return one


def _as_of(incident: Incident, training_at: float | None) -> Incident:
    """Return an incident as over if it was there before all trained again; a stall found since is another one."""
    is_over = training_at is not None and (incident.detected_at is None or incident.detected_at <= training_at)
    return _over(incident, training_at) if is_over else incident


def _over(incident: Incident, training_at: float | None) -> Incident:
    return replace(incident, training_at=training_at, is_over=True)

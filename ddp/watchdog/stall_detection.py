"""Stall detection: finds the rank that blocks the others from all statuses, as a pure function; reports it once.

A rank that waits for others is never the cause while one of those is in another stage or silent.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stack_groups import StackGroup, named
from ddp.watchdog.stages import Stage


@dataclass(frozen=True)
class Stall:
    """A stalled rank; `rank` is None if all ranks wait for each other. `also` are ranks that stall in the same way.

    `seconds` is the duration so far, or in total if `is_resolved`; it was found after more than `limit_seconds`.
    `message` describes the stall to the user, and `subject` is its subject. `is_silent` says that the rank does not
    report. `groups` are the stacks of all ranks, and `stacks_file` is where they are, relative to the run directory.
    """

    rank: int | None
    stage: Stage
    seconds: float
    message: str
    subject: str
    also: tuple[int, ...] = ()
    is_resolved: bool = False
    limit_seconds: float = 0.0
    is_silent: bool = False
    groups: tuple[StackGroup, ...] = ()
    stacks_file: str | None = None

    @property
    def kind(self) -> str:
        """The kind of the event."""
        return "going on" if self.is_resolved else "stalled"

    def details(self) -> dict[str, Any]:
        """Return the details of the event."""
        details = {"rank": self.rank, "stage": self.stage.value, "seconds": self.seconds, "reason": self.message}
        if not self.groups:
            return details
        groups = [group.details() for group in self.groups]
        return {**details, "limit_seconds": self.limit_seconds, "groups": groups, "stacks_file": self.stacks_file}

    def continues_as(self, found: "Stall | None") -> bool:
        """Whether `found`, detected later, is the same stall."""
        return found is not None and found.stage is self.stage and self.rank in {found.rank, *found.also}

    def resolved(self, seconds: float) -> "Stall":
        """Return this stall as resolved, after `seconds` in total."""
        verb = "go" if self.rank is None else "goes"
        return replace(
            self, seconds=seconds, message=f"{self.subject} {verb} on after {seconds:.0f} s.", is_resolved=True,
            groups=(), stacks_file=None,
        )  # fmt: skip


class StallTracker:
    """Tracker of the reported stall, so that its start and its end are reported once each."""

    def __init__(self) -> None:
        self._reported: Stall | None = None
        self._started_at = 0.0

    def changes(self, found: Stall | None, now: float) -> list[Stall]:
        """Return the resolved and the new stall, if `found` at the monotonic time `now` (s) changes anything."""
        if self._reported is not None and self._reported.continues_as(found):
            return []
        changes = [] if self._reported is None else [self._reported.resolved(now - self._started_at)]
        self._reported = found
        if found is not None:
            self._started_at = now - found.seconds
            changes.append(found)
        return changes


def find_stall(statuses: Sequence[RankStatus], stall_seconds: float, silence_seconds: float) -> Stall | None:
    """Return the current stall, or None.

    A rank silent for more than `silence_seconds` (frozen, cut off, gone) has priority over one that has been in its own
    stage for more than `stall_seconds`. Without either, all ranks waiting for each other for that long are a stall.
    A paused rank can only be silent, and a leaving one is never stalled. A limit that was learnt counts if it is lower.
    """
    limits = _Limits(stall_seconds, silence_seconds)
    present = [status for status in statuses if not limits.has_left(status)]
    silent = [status for status in present if status.silent_seconds > limits.of_silence(status)]
    if silent:
        return _silent_stall(silent, present, limits)
    is_alone = len(statuses) == 1  # then no other rank can be the cause
    working = [status for status in present if status.stage is not Stage.PAUSED]
    busy = [status for status in working if is_alone or not waits(status)]
    slow = [status for status in busy if status.stage_seconds > limits.of_stage(status)]
    if slow:
        return _slow_stall(slow, present, limits)
    if working and not busy and all(status.stage_seconds > limits.of_stage(status) for status in working):
        return _deadlock(working, present, limits)
    return None


@dataclass(frozen=True)
class _Limits:
    """Upper bounds of what was learnt, in seconds."""

    stall_seconds: float
    silence_seconds: float

    def of_stage(self, status: RankStatus) -> float:
        learnt = status.stage_limit_seconds
        return self.stall_seconds if learnt is None else min(learnt, self.stall_seconds)

    def of_silence(self, status: RankStatus) -> float:
        learnt = None if status.stage in {Stage.STARTING, Stage.LEAVING} else status.silence_limit_seconds
        return self.silence_seconds if learnt is None else min(learnt, self.silence_seconds)

    def has_left(self, status: RankStatus) -> bool:
        return status.stage is Stage.LEAVING and status.silent_seconds > self.silence_seconds


def waits(status: RankStatus) -> bool:
    """Return whether a rank waits for others; a checkpoint is written by rank 0, and the others wait for it."""
    return status.stage.waits_for_others or (status.stage is Stage.CHECKPOINT and status.rank != 0)


def _silent_stall(silent: Sequence[RankStatus], present: Sequence[RankStatus], limits: _Limits) -> Stall:
    first = max(silent, key=lambda status: status.silent_seconds)
    also = _others(silent, first)
    last = "" if first.pid is None else f", last in stage {first.stage}{_at_step(first)}"
    message = (
        f"{_subject(first)} has been silent for {first.silent_seconds:.0f} s{last}{_others_clause(also)}: "
        "frozen, cut off or gone"
        f"{_waiters_clause(silent, present)}."
    )
    limit, seconds = limits.of_silence(first), first.silent_seconds
    return Stall(first.rank, first.stage, seconds, message, _subject(first), also, limit_seconds=limit, is_silent=True)


def _slow_stall(slow: Sequence[RankStatus], present: Sequence[RankStatus], limits: _Limits) -> Stall:
    longest = max(slow, key=lambda status: status.stage_seconds)
    same_stage = [status for status in slow if status.stage is longest.stage]
    first = same_stage[0]  # by rank: of ranks that hang together in a checkpoint, rank 0 is the one that writes
    also = _others(same_stage, first)
    message = (
        f"{_subject(first)} has been in stage {first.stage} for {first.stage_seconds:.0f} s"
        f"{_at_step(first)}{_others_clause(also)}"
        f"{_waiters_clause(slow, present)}."
    )
    limit, seconds = limits.of_stage(first), first.stage_seconds
    return Stall(first.rank, first.stage, seconds, message, _subject(first), also, limit_seconds=limit)


def _deadlock(waiting: Sequence[RankStatus], present: Sequence[RankStatus], limits: _Limits) -> Stall:
    last = min(waiting, key=lambda status: status.stage_seconds)
    seconds = last.stage_seconds
    if len({status.stage for status in present}) == 1:
        advice = "look at the network between them and at their devices"
        message = f"All ranks have waited in {last.stage} for {seconds:.0f} s{_at_step(last)}; {advice}."
    else:
        message = f"All ranks have waited for each other in different stages for {seconds:.0f} s: {_by_stage(present)}."
    return Stall(None, last.stage, seconds, message, "All ranks", limit_seconds=limits.of_stage(last))


def _others(stalled: Iterable[RankStatus], first: RankStatus) -> tuple[int, ...]:
    return tuple(status.rank for status in stalled if status.rank != first.rank)


def _subject(status: RankStatus) -> str:
    return f"Rank {status.rank}" if status.host is None else f"Rank {status.rank} ({status.host})"


def _at_step(status: RankStatus) -> str:
    return "" if status.step is None else f" at step {status.step}"


def _others_clause(also: Sequence[int]) -> str:
    return f", and so {'has' if len(also) == 1 else 'have'} {named(also)}" if also else ""


def _waiters_clause(culprits: Sequence[RankStatus], present: Sequence[RankStatus]) -> str:
    """Return the clause that says where the others wait; empty if none waits."""
    others = [status for status in present if status not in culprits and waits(status)]
    if not others:
        return ""
    who, verb = ("the others", "wait") if len(others) > 1 else (named([others[0].rank]), "waits")
    them = "it" if len(culprits) == 1 else "them"
    return f"; {who} {verb} for {them} in {', '.join(dict.fromkeys(status.stage for status in others))}"


def _by_stage(statuses: Sequence[RankStatus]) -> str:
    ranks: defaultdict[Stage, list[int]] = defaultdict(list)
    for status in statuses:
        ranks[status.stage].append(status.rank)
    return "; ".join(f"{named(numbers)} in {stage}" for stage, numbers in ranks.items())

"""Stall detection: finds the rank that blocks the others from all statuses, as a pure function; reports it once.

A rank that waits for others is never the cause while one of those is in another stage or silent.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stages import Stage

MAX_LISTED_RANKS = 8


@dataclass(frozen=True)
class Stall:
    """A stalled rank; `rank` is None if all ranks wait for each other. `also` are ranks that stall in the same way.

    `seconds` is the duration so far, or in total if `is_resolved`. `message` describes the stall to the user, and
    `subject` is its subject.
    """

    rank: int | None
    stage: Stage
    seconds: float
    message: str
    subject: str
    also: tuple[int, ...] = ()
    is_resolved: bool = False

    def continues_as(self, found: "Stall | None") -> bool:
        """Whether `found`, detected later, is the same stall."""
        return found is not None and found.stage is self.stage and self.rank in {found.rank, *found.also}

    def resolved(self, seconds: float) -> "Stall":
        """Return this stall as resolved, after `seconds` in total."""
        verb = "go" if self.rank is None else "goes"
        return replace(
            self, seconds=seconds, message=f"{self.subject} {verb} on after {seconds:.0f} s.", is_resolved=True
        )


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
    A paused rank can only be silent, and a leaving one is never stalled.
    """
    present = [status for status in statuses if not _has_left(status, silence_seconds)]
    silent = [status for status in present if status.silent_seconds > silence_seconds]
    if silent:
        return _silent_stall(silent, present)
    is_alone = len(statuses) == 1  # then no other rank can be the cause
    working = [status for status in present if status.stage is not Stage.PAUSED]
    busy = [status for status in working if is_alone or not status.stage.waits_for_others]
    slow = [status for status in busy if status.stage_seconds > stall_seconds]
    if slow:
        return _slow_stall(slow, present)
    if working and not busy and min(status.stage_seconds for status in working) > stall_seconds:
        return _deadlock(working, present)
    return None


def _has_left(status: RankStatus, silence_seconds: float) -> bool:
    return status.stage is Stage.LEAVING and status.silent_seconds > silence_seconds


def _silent_stall(silent: Sequence[RankStatus], present: Sequence[RankStatus]) -> Stall:
    first = max(silent, key=lambda status: status.silent_seconds)
    also = _others(silent, first)
    last = "" if first.pid is None else f", last in stage {first.stage}{_at_step(first)}"
    message = (
        f"{_subject(first)} has been silent for {first.silent_seconds:.0f} s{last}{_others_clause(also)}: "
        "frozen, cut off or gone"
        f"{_waiters_clause(silent, present)}."
    )
    return Stall(first.rank, first.stage, first.silent_seconds, message, _subject(first), also)


def _slow_stall(slow: Sequence[RankStatus], present: Sequence[RankStatus]) -> Stall:
    longest = max(slow, key=lambda status: status.stage_seconds)
    same_stage = [status for status in slow if status.stage is longest.stage]
    first = same_stage[0]  # by rank: of ranks that hang together in a checkpoint, rank 0 is the one that writes
    also = _others(same_stage, first)
    message = (
        f"{_subject(first)} has been in stage {first.stage} for {first.stage_seconds:.0f} s"
        f"{_at_step(first)}{_others_clause(also)}"
        f"{_waiters_clause(slow, present)}."
    )
    return Stall(first.rank, first.stage, first.stage_seconds, message, _subject(first), also)


def _deadlock(waiting: Sequence[RankStatus], present: Sequence[RankStatus]) -> Stall:
    last = min(waiting, key=lambda status: status.stage_seconds)
    seconds = last.stage_seconds
    if len({status.stage for status in present}) == 1:
        advice = "look at the network between them and at their devices"
        message = f"All ranks have waited in {last.stage} for {seconds:.0f} s{_at_step(last)}; {advice}."
    else:
        message = f"All ranks have waited for each other in different stages for {seconds:.0f} s: {_by_stage(present)}."
    return Stall(None, last.stage, seconds, message, "All ranks")


def _others(stalled: Iterable[RankStatus], first: RankStatus) -> tuple[int, ...]:
    return tuple(status.rank for status in stalled if status.rank != first.rank)


def _subject(status: RankStatus) -> str:
    return f"Rank {status.rank}" if status.host is None else f"Rank {status.rank} ({status.host})"


def _at_step(status: RankStatus) -> str:
    return "" if status.step is None else f" at step {status.step}"


def _others_clause(also: Sequence[int]) -> str:
    return f", and so {'has' if len(also) == 1 else 'have'} {_ranks(also)}" if also else ""


def _waiters_clause(culprits: Sequence[RankStatus], present: Sequence[RankStatus]) -> str:
    """Return the clause that says where the others wait; empty if none waits."""
    others = [status for status in present if status not in culprits and status.stage.waits_for_others]
    if not others:
        return ""
    who, verb = ("the others", "wait") if len(others) > 1 else (_ranks([others[0].rank]), "waits")
    them = "it" if len(culprits) == 1 else "them"
    return f"; {who} {verb} for {them} in {', '.join(dict.fromkeys(status.stage for status in others))}"


def _by_stage(statuses: Sequence[RankStatus]) -> str:
    ranks: defaultdict[Stage, list[int]] = defaultdict(list)
    for status in statuses:
        ranks[status.stage].append(status.rank)
    return "; ".join(f"{_ranks(numbers)} in {stage}" for stage, numbers in ranks.items())


def _ranks(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:MAX_LISTED_RANKS]))
    more = f" and {len(numbers) - MAX_LISTED_RANKS} more" if len(numbers) > MAX_LISTED_RANKS else ""
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {named}{more}"

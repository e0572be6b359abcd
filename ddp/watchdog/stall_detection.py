"""Who holds all others up: judged from what every rank said, as a pure function, and said once.

A rank that waits for others is never to blame while one of those that it waits for does something else or says nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stages import Stage

NAMED_RANKS = 8


@dataclass(frozen=True)
class Stall:
    """A rank that hangs; `rank` is None when all ranks wait for each other. `also` are ranks that hang alike.

    `seconds` is how long it has lasted, and with `is_over` how long it did. `sentence` says all of it to people.
    """

    rank: int | None
    stage: Stage
    seconds: float
    sentence: str
    who: str
    also: tuple[int, ...] = ()
    is_over: bool = False

    def goes_on_as(self, found: "Stall | None") -> bool:
        """Whether `found`, judged later, is this same stall."""
        return found is not None and found.stage is self.stage and self.rank in {found.rank, *found.also}

    def resolved(self, seconds: float) -> "Stall":
        """The news that it is over, after so many seconds in all."""
        verb = "go" if self.rank is None else "goes"
        return replace(self, seconds=seconds, sentence=f"{self.who} {verb} on after {seconds:.0f} s.", is_over=True)


class StallTracker:
    """Remembers which stall was named, so that each is said once, and its end once."""

    def __init__(self) -> None:
        self._named: Stall | None = None
        self._began_at = 0.0

    def changes(self, found: Stall | None, now: float) -> list[Stall]:
        """What is new after this judgement at the monotonic time `now`."""
        if self._named is not None and self._named.goes_on_as(found):
            return []
        news = [] if self._named is None else [self._named.resolved(now - self._began_at)]
        self._named = found
        if found is not None:
            self._began_at = now - found.seconds
            news.append(found)
        return news


def find_stall(statuses: Sequence[RankStatus], stall_seconds: float, silence_seconds: float) -> Stall | None:
    """The stall there is, if any.

    Silent longer than `silence_seconds` (frozen, cut off, gone) comes before longer than `stall_seconds` in a stage of
    its own; if nobody is either, all waiting for each other for so long. While paused or leaving, only silence while
    paused is one.
    """
    present = [status for status in statuses if not _has_left(status, silence_seconds)]
    silent = [status for status in present if status.silent_seconds > silence_seconds]
    if silent:
        return _silence(silent, present)
    is_alone = len(statuses) == 1  # then nobody else can be to blame
    working = [status for status in present if status.stage is not Stage.PAUSED]
    busy = [status for status in working if is_alone or not status.stage.waits_for_others]
    slow = [status for status in busy if status.stage_seconds > stall_seconds]
    if slow:
        return _slowness(slow, present)
    if working and not busy and min(status.stage_seconds for status in working) > stall_seconds:
        return _deadlock(working, present)
    return None


def _has_left(status: RankStatus, silence_seconds: float) -> bool:
    return status.stage is Stage.LEAVING and status.silent_seconds > silence_seconds


def _silence(silent: Sequence[RankStatus], present: Sequence[RankStatus]) -> Stall:
    first = max(silent, key=lambda status: status.silent_seconds)
    also = _others(silent, first)
    last = "" if first.pid is None else f", last in stage {first.stage}{_at_step(first)}"
    sentence = (
        f"{_who(first)} has been silent for {first.silent_seconds:.0f} s{last}{_and_so(also)}: frozen, cut off or gone"
        f"{_waited_for(silent, present)}."
    )
    return Stall(first.rank, first.stage, first.silent_seconds, sentence, _who(first), also)


def _slowness(slow: Sequence[RankStatus], present: Sequence[RankStatus]) -> Stall:
    longest = max(slow, key=lambda status: status.stage_seconds)
    alike = [status for status in slow if status.stage is longest.stage]
    first = alike[0]  # by rank: of ranks that hang together in a checkpoint, rank 0 is the one that writes
    also = _others(alike, first)
    sentence = (
        f"{_who(first)} has been in stage {first.stage} for {first.stage_seconds:.0f} s{_at_step(first)}{_and_so(also)}"
        f"{_waited_for(slow, present)}."
    )
    return Stall(first.rank, first.stage, first.stage_seconds, sentence, _who(first), also)


def _deadlock(waiting: Sequence[RankStatus], present: Sequence[RankStatus]) -> Stall:
    last = min(waiting, key=lambda status: status.stage_seconds)
    seconds = last.stage_seconds
    if len({status.stage for status in present}) == 1:
        advice = "look at the network between them and at their devices"
        sentence = f"All ranks have waited in {last.stage} for {seconds:.0f} s{_at_step(last)}; {advice}."
    else:
        sentence = (
            f"All ranks have waited for each other in different stages for {seconds:.0f} s: {_by_stage(present)}."
        )
    return Stall(None, last.stage, seconds, sentence, "All ranks")


def _others(alike: Iterable[RankStatus], first: RankStatus) -> tuple[int, ...]:
    return tuple(status.rank for status in alike if status.rank != first.rank)


def _who(status: RankStatus) -> str:
    return f"Rank {status.rank}" if status.host is None else f"Rank {status.rank} ({status.host})"


def _at_step(status: RankStatus) -> str:
    return "" if status.step is None else f" at step {status.step}"


def _and_so(also: Sequence[int]) -> str:
    return f", and so {'has' if len(also) == 1 else 'have'} {_ranks(also)}" if also else ""


def _waited_for(culprits: Sequence[RankStatus], present: Sequence[RankStatus]) -> str:
    """Where all others wait; nothing when they do not."""
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
    named = ", ".join(map(str, numbers[:NAMED_RANKS]))
    more = f" and {len(numbers) - NAMED_RANKS} more" if len(numbers) > NAMED_RANKS else ""
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {named}{more}"

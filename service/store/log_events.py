"""What `training.log` tells of a run, as the events that its store had: starts, changes, rollbacks, checkpoints.

The log is for people. A line that says something else, or is cut off, is passed over.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.config.live_settings import read_changes
from service.errors import CommandError
from service.run.ledger.ledger import REGISTERED, TIME_SPENT
from service.run.ledger.log_lines import BEGUN, SPENT, begun_of, spent_of

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) [A-Z]+ (.*)")


@dataclass(frozen=True)
class LoggedEvent:
    """One event: Unix seconds, step, kind and details."""

    time: float
    step: int
    kind: str
    details: Mapping[str, Any]


Found = tuple[int, str, Mapping[str, Any]]


def _started(match: re.Match[str]) -> Found:
    step = int(match[1])
    return step, "started", {"step": step, "world_size": int(match[2])}


def _changed(match: re.Match[str]) -> Found:
    assignments = (text.partition("=") for text in match[2].split(", "))
    return int(match[1]), "set", read_changes({name: value for name, _, value in assignments})


def _rolled_back(match: re.Match[str]) -> Found:
    details = {
        "from_step": int(match[1]),
        "checkpoint": match[2],
        "reason": match[4],
        "branch_id": int(match[5]),
    }
    return int(match[3]), "rollback", details


def _not_finite(match: re.Match[str]) -> Found:
    steps = [int(step) for step in match[1].split(", ")]
    return steps[-1], "not finite", {"steps": steps}


def _recovered(match: re.Match[str]) -> Found:
    lost = match["lost"]
    details = {
        "seconds": None if match["seconds"] is None else float(match["seconds"]),
        "source": match["source"],
        "steps_lost": None if lost is None else 0 if lost == "no" else int(lost),
        "reason": match[0],
    }
    return 0, "recovered", details


def _stalled(match: re.Match[str]) -> Found:
    rank = None if match["rank"] is None else int(match["rank"])
    return 0, "stalled", {**_seconds(match), "rank": rank, "stage": match["stage"], "reason": match[0]}


def _going_on(match: re.Match[str]) -> Found:
    return 0, "going on", {**_seconds(match), "reason": match[0]}


def _seconds(match: re.Match[str]) -> Mapping[str, Any]:
    return {"seconds": float(match["seconds"])}


def _with_kind(found: tuple[int, Mapping[str, Any]], kind: str) -> Found:
    step, details = found
    return step, kind, details


_SENTENCES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Found]], ...] = (
    (re.compile(r"(?:Starting|Resuming) at step (\d+): (\d+) ranks on .*"), _started),
    (SPENT, lambda match: _with_kind(spent_of(match), TIME_SPENT)),
    (BEGUN, lambda match: _with_kind(begun_of(match), REGISTERED)),
    (re.compile(r"Settings changed at step (\d+): (.+)"), _changed),
    (
        re.compile(r"Rolled back from step (\d+) to (step_(\d+)) \((.*)\); this is branch (\d+)\."),
        _rolled_back,
    ),
    (re.compile(r"Paused at step (\d+)\."), lambda match: (int(match[1]), "paused", {})),
    (re.compile(r"Going on at step (\d+)\."), lambda match: (int(match[1]), "resumed", {})),
    (
        re.compile(r"Checkpoint saved: (step_(\d+))"),
        lambda match: (int(match[2]), "checkpoint", {"checkpoint": match[1]}),
    ),
    (
        re.compile(r"Skipped, because the loss or a gradient was not finite: step (\d+(?:, \d+)*)\."),
        _not_finite,
    ),
    (
        re.compile(
            r"(?P<what>.+); all ranks train again(?: (?P<seconds>[\d.]+) s later)?, (?P<origin>anew|from the state of "
            r"(?P<source>.+), step \d+)(?:; (?P<lost>no|\d+) steps? (?:was|were) lost)?\."
        ),
        _recovered,
    ),
    (
        re.compile(
            r"(?P<who>Rank (?P<rank>\d+)|All ranks)\b.*? (?:has been silent|has been in stage (?P<stage>[a-z-]+)|"
            r"have waited .*?) for (?P<seconds>[\d.]+) s\b.*"
        ),
        _stalled,
    ),
    (re.compile(r"(?:Rank \d+|All ranks)\b.* goe?s? on after (?P<seconds>[\d.]+) s\."), _going_on),
)


def events_in(lines: Iterable[str]) -> Iterator[LoggedEvent]:
    """Yield the events in the lines of a log; their times are those of this machine's clock."""
    for line in lines:
        match = _LINE.fullmatch(line.rstrip("\n"))
        if match is None:
            continue
        try:
            found = _event_in(match[3])
            at = datetime.fromisoformat(f"{match[1]}.{match[2]}").timestamp()
        except (ValueError, OverflowError, CommandError):  # of another version, or changed by someone
            continue
        if found is not None:
            yield LoggedEvent(at, *found)


def _event_in(text: str) -> Found | None:
    for pattern, made in _SENTENCES:
        if match := pattern.fullmatch(text):
            return made(match)
    return None

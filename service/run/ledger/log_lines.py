"""Lines of `training.log` that tell the ledger's part of a run, and the events that they stand for.

A store that is made again from files has no other source. Times have their offset from UTC, so that a line means the
same on every machine.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.run.ledger.time_spent import Activity, TimeSpent

_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d(?::\d\d)?"
SPENT = re.compile(
    rf"Time spent in (?:this start|the start before), begun (?P<began_at>{_MOMENT}), up to step (?P<step>\d+) at "
    rf"(?P<at>{_MOMENT}): (?P<seconds>[a-z]+ [\d.]+ s(?:, [a-z]+ [\d.]+ s)*); "
    rf"(?:no step yet|first step at (?P<training_at>{_MOMENT}))\."
)
_BEFORE = (
    r", after one that was last (?P<state>[a-z]+)(?: \((?P<reason>.*)\))? at step (?P<step>\d+), "
    rf"heard of (?P<heartbeat_at>{_MOMENT})"
)
_CAUSE = rf", since rank (?P<rank>\d+) \(process (?P<pid>\d+)\) (?P<how>.+) at (?P<detected_at>{_MOMENT})"
BEGUN = re.compile(
    rf"This start began (?P<began_at>{_MOMENT})(?:{_BEFORE})?"
    rf"(?:; restart (?P<restarts>\d+) by the launcher(?:{_CAUSE})?)?\."
)


def spent_line(spent: TimeSpent, *, is_past: bool = False) -> str:
    """Return what this start, or if `is_past` the one before, has spent its time on."""
    which = "the start before" if is_past else "this start"
    seconds = ", ".join(f"{activity.value} {spent.seconds.get(activity, 0.0):.3f} s" for activity in Activity)
    first = "no step yet" if spent.training_at is None else f"first step at {_text_of(spent.training_at)}"
    return (
        f"Time spent in {which}, begun {_text_of(spent.began_at)}, up to step {spent.step} at {_text_of(spent.at)}: "
        f"{seconds}; {first}."
    )


def begun_line(details: Mapping[str, Any]) -> str:
    """Return when a start began, how the one before it ended, and why the launcher started again, if it did."""
    previous, failure, restarts = (details.get(key) for key in ("previous", "failure", "restarts"))
    before = restart = cause = ""
    if previous:
        reason = f" ({previous['reason']})" if previous["reason"] else ""
        heard_of = _text_of(previous["heartbeat_at"])
        before = (
            f", after one that was last {previous['state']}{reason} at step {previous['step']}, heard of {heard_of}"
        )
    if restarts:
        if failure and {"rank", "pid", "how", "detected_at"} <= failure.keys():
            rank, process = failure["rank"], failure["pid"]
            cause = f", since rank {rank} (process {process}) {failure['how']} at {_text_of(failure['detected_at'])}"
        restart = f"; restart {restarts} by the launcher{cause}"
    return f"This start began {_text_of(details['began_at'])}{before}{restart}."


def spent_of(match: re.Match[str]) -> tuple[int, dict[str, Any]]:
    """Return step and details of the event that a line of `SPENT` stands for; raises `ValueError`."""
    seconds = {}
    for part in match["seconds"].split(", "):
        name, value, _ = part.split(" ")
        seconds[Activity(name)] = float(value)
    training_at = None if match["training_at"] is None else _moment_of(match["training_at"])
    step = int(match["step"])
    spent = TimeSpent(_moment_of(match["began_at"]), _moment_of(match["at"]), step, training_at, seconds)
    return step, {"time_spent": spent.as_dict()}


def begun_of(match: re.Match[str]) -> tuple[int, dict[str, Any]]:
    """Return step and details of the event that a line of `BEGUN` stands for; raises `ValueError`."""
    previous = failure = None
    if match["state"] is not None:
        heartbeat_at = _moment_of(match["heartbeat_at"])
        previous = {
            "state": match["state"], "reason": match["reason"], "step": int(match["step"]),
            "heartbeat_at": heartbeat_at, "started_at": heartbeat_at, "time_spent": None,
        }  # fmt: skip
    if match["rank"] is not None:
        detected_at = _moment_of(match["detected_at"])
        named = {"rank": int(match["rank"]), "pid": int(match["pid"])}
        failure = {**named, "how": match["how"], "detected_at": detected_at}
    details = {"began_at": _moment_of(match["began_at"]), "restarts": int(match["restarts"] or 0)}
    return int(match["step"] or 0), {**details, "failure": failure, "previous": previous}


def _text_of(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="milliseconds")


def _moment_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

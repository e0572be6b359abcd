"""What the view says in words: the state and since when, the finish time, how the data is, and what to do."""

from collections.abc import Callable, Mapping
from typing import Any

from service.cli.text_table import duration
from service.cli.watch.view import Link, RunView
from service.run.state import RunState, clock, finish_time

STATES = {
    RunState.STARTING: ("STARTING", "accent"),
    RunState.RUNNING: ("RUNNING", "good"),
    RunState.PAUSED: ("PAUSED", "warn"),
    RunState.STALLED: ("STALLED", "warn"),
    RunState.LOST: ("TRAINER LOST", "bad"),
    RunState.FINISHED: ("FINISHED", "good"),
    RunState.STOPPED: ("STOPPED", "accent"),
    RunState.FAILED: ("FAILED", "bad"),
}
"""How a state is called, and its tone."""


def state_words(view: RunView, now: float) -> tuple[str, str]:
    """Return the state's name and tone; while the API is away, what it was."""
    state, link = view.run_state, view.link(now)
    if state is None:
        empty = ("NO RUN YET", "accent") if link in {Link.LIVE, Link.POLLING} else ("CONNECTING", "accent")
        return {Link.AWAY: ("API AWAY", "bad"), Link.REFUSED: ("REFUSED", "bad")}.get(link, empty)
    name, tone = STATES[state]
    return (f"UNKNOWN, WAS {name}", "warn") if link in {Link.AWAY, Link.REFUSED} else (name, tone)


def since_words(view: RunView, now: float) -> str:
    """Return `since 09:12 (3 h 2 min)`, or an empty text if that is not known."""
    since = view.since(now)
    return "" if since is None else f"since {clock(since, now)} ({duration(max(0.0, now - since))})"


def finish_words(state: Mapping[str, Any], now: float) -> str:
    """Return when a running training will have finished, for example `finishes 14:30, in 55 min`."""
    finish = finish_time(state)
    if finish is None or state["run_state"] != RunState.RUNNING:
        return ""
    return f"finishes {clock(finish, now)}, in {duration(max(0.0, finish - now))}"


def link_words(view: RunView, now: float) -> tuple[str, str]:
    """Return how old the data is and how it comes, with its tone."""
    link = view.link(now)
    if link is Link.CONNECTING:
        return "connecting", "muted"
    if view.state is None:
        return "", "muted"
    age = f"data {duration(view.age_seconds(now))} old"
    if link in {Link.AWAY, Link.REFUSED}:
        return f"{age}, {'no answer' if link is Link.AWAY else 'refused'}", "bad"
    return f"{age}, {link}", "muted" if view.age_seconds(now) < 10 else "warn"


def advice(view: RunView, now: float) -> tuple[str, str]:
    """Return what to know or do now as one sentence, with its tone; an empty text where nothing is to be done."""
    link, state = view.link(now), view.run_state
    if link is Link.REFUSED:
        return f"{view.trouble} This view asks again every few seconds.", "bad"
    if link is Link.AWAY:
        text = view.trouble or "The API does not answer: start it with `leitstand serve`, or look at its output."
        return f"{text} Asking again.", "bad"
    if state is None:
        waiting = "No run yet: start one with `leitstand up`; it appears here by itself."
        return (waiting, "accent") if view.trouble is not None else ("Asking the API.", "muted")
    reason = _sentence(str((view.state or {}).get("run_reason") or ""))
    return _ADVICE[state](view, reason), STATES[state][1]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


STACK_ADVICE = "`leitstand ranks --stack N` shows where rank N is."


def _running(view: RunView, reason: str) -> str:
    if reason:  # a rank was named that hangs, before the run as a whole counts as stalled
        return f"{reason} {STACK_ADVICE}"
    if view.has_curves and not any(curve.stretches for curve in view.curves.values()):
        return "No log point yet: the first one comes after LOG_EVERY steps."
    slow = (view.state or {}).get("slow_rank")
    return "" if slow is None else f"Rank {slow} is slow: the others wait for it."


def _paused(view: RunView, _reason: str) -> str:
    keys = "p goes on" if view.may_act else "`leitstand resume` goes on, with a token that may control"
    return f"Paused at step {view.step}: {keys}."


_ADVICE: Mapping[RunState, Callable[[RunView, str], str]] = {
    RunState.STARTING: lambda _view, _reason: "The trainer is starting; the first log point follows.",
    RunState.RUNNING: _running,
    RunState.PAUSED: _paused,
    RunState.STALLED: lambda _view, reason: f"{reason or 'The trainer is alive, but nothing moves.'} {STACK_ADVICE}",
    RunState.LOST: lambda _view, _reason: (
        "No sign of life: see `leitstand log` for the last lines; `leitstand up` goes on from the last checkpoint."
    ),
    RunState.FINISHED: lambda _view, _reason: "All steps are done: `leitstand stats show` prints the last record.",
    RunState.STOPPED: lambda _view, reason: f"{reason or 'Stopped.'} `leitstand up` goes on from here.",
    RunState.FAILED: lambda _view, reason: (
        f"{reason or 'The run failed.'} See `leitstand log`; `leitstand up` goes on from the last checkpoint."
    ),
}

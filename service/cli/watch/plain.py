"""`leitstand watch` without a terminal: a line for each log point and event, until the run ends."""

import queue
import time
from collections.abc import Mapping
from typing import Any

import click

from service.cli.options import as_json_text
from service.cli.text_table import moment, number, show_line
from service.cli.watch.feed import Connect, Feed
from service.cli.watch.phrases import advice, finish_words
from service.cli.watch.updates import AlertsSeen, EventSeen, StateSeen, Trouble, Update
from service.cli.watch.view import RunView
from service.errors import UserError
from service.run.state import RunState

MAX_OUTAGE_SECONDS = 300.0
"""How long a run is waited for whose API is away, once it was there."""
FAILED = 1


def print_lines(connect: Connect, *, as_json: bool = False) -> int:
    """Print what happens until the run has ended; returns 1 if it failed, else 0. Raises `UserError`."""
    updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
    feed = Feed(connect, updates.put)
    feed.start()
    printer = LinePrinter(as_json=as_json)
    try:
        while printer.exit_code is None:
            printer.take(updates.get())
    finally:
        feed.close()
    return printer.exit_code


class LinePrinter:
    """Prints a line for each log point, change of state and event; `exit_code` is set when the run has ended."""

    def __init__(self, *, as_json: bool = False) -> None:
        """Print text, or with `as_json` one object a line: `time`, `kind`, `text`, and values of a log point."""
        self.exit_code: int | None = None
        self._as_json = as_json
        self._view = RunView()
        self._printed_step: int | None = None
        self._away_since: float | None = None

    def take(self, update: Update) -> None:
        """Print what an update adds; raises `UserError` if the API cannot be used, or is away for too long."""
        if self._view.is_stale:
            self._printed_step, self._view.is_stale = None, False  # steps may be repeated
        if isinstance(update, Trouble):
            self._take_trouble(update.error)
            return
        if isinstance(update, EventSeen) and update.event.kind == "log":
            self._print_point(update.event.data["step"], update.event.data["time"], update.event.data["values"])
        if isinstance(update, StateSeen):
            self._take_state(update)
        if isinstance(update, StateSeen | EventSeen | AlertsSeen):
            self._view.apply(update)
            self._print_journal()
        if isinstance(update, StateSeen):
            self._end_with_run(update.state)

    def _take_state(self, seen: StateSeen) -> None:
        """Print the state at the beginning, and a log point that no event has brought."""
        state = seen.state
        if self._away_since is not None:
            self._away_since = None
            self._print(seen.at, "api", "The API answers again.")
        if self._view.state is None:
            reason = f" ({state['run_reason']})" if state.get("run_reason") else ""
            self._print(
                seen.at, "state", f"run {state['run_id']} {state['run_state']} at step {state['step_live']}{reason}"
            )
            self._printed_step = state["step_current"]
        elif state["step_current"] is not None and state["run_state"] != RunState.STARTING:
            self._print_point(state["step_current"], state["last_update_time"], state)

    def _print_point(self, step: int, at: float, values: Mapping[str, Any]) -> None:
        """Print a log point, unless it was printed before."""
        if self._printed_step is not None and step <= self._printed_step:
            return
        self._printed_step = step
        state = self._view.state or {}
        total = values.get("step_max") or state.get("step_max")
        pieces = [
            f"step {step}{f' of {total:.0f}' if total else ''}",
            f"loss {number(values.get('total_loss_value'), '.5f')}",
            f"quality KI {number(state.get('quality_ki_value'))}",
            f"{number(values.get('iteration_duration'), '.3f')} s/step",
        ]
        finish = finish_words(state, time.time()) if state else ""
        self._print(at, "log", "  ".join([*pieces, finish] if finish else pieces), step=step)

    def _print_journal(self) -> None:
        for entry in self._view.journal.take():
            self._print(entry.time, entry.kind, entry.text)

    def _end_with_run(self, state: Mapping[str, Any]) -> None:
        run_state = RunState(state["run_state"])
        if run_state.has_ended:
            self._print(time.time(), "end", advice(self._view, time.time())[0])
            self.exit_code = FAILED if run_state is RunState.FAILED else 0

    def _take_trouble(self, error: UserError) -> None:
        now = time.time()
        is_passing = getattr(error, "is_transient", False) and self._view.state is not None
        if not is_passing or (self._away_since is not None and now - self._away_since > MAX_OUTAGE_SECONDS):
            raise error
        if self._away_since is None:
            self._away_since = now
            self._print(now, "api", f"{error} Asking again.")

    def _print(self, at: float, kind: str, text: str, **values: Any) -> None:
        if self._as_json:
            click.echo(as_json_text({"time": at, "kind": kind, "text": text, **values}, indent=None))
        else:
            show_line(f"{moment(at)}  {text}")

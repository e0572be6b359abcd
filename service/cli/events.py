"""`leitstand events` and `leitstand log`: print what happens, as it happens, until Ctrl-C; events in sentences."""

import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import click

from service.cli.options import as_json_text, json_option
from service.cli.server_options import server_options
from service.cli.text_table import moment, number, show_line, show_text
from service.client.artifacts import LogPart
from service.client.client import ApiError, Client, LiveEvent, ServerUnreachableError
from service.commands import outcome_sentence

MAX_NAMES = 3
"""So many files are named in a sentence; the log of the training, or --json, has all."""
POLL_SECONDS = 1.0
MAX_OUTAGE_SECONDS = 300.0
"""How long an API that is away is waited for."""
MAX_LINES = 5000
"""Lines asked for of another log that has taken the place of the one that was followed."""


@click.command
@click.option("--kinds", default="", metavar="A,B", help="Only some: state, log, record, command, alert, event.")
@click.option("--after", default="", metavar="ID", help="Begin after the event with this id; without it, now.")
@json_option
@server_options
def events(client: Client, kinds: str, after: str, as_json: bool) -> None:
    """Follow what happens, until Ctrl-C."""
    requested_kinds = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    for event in client.events(requested_kinds, last_event_id=after):
        if as_json:
            click.echo(_json_line(event))
        else:
            show_line(line(event))


def line(event: LiveEvent) -> str:
    """Return an event as one line: time, kind and main values."""
    # A state has no time, because it is the present one.
    return f"{moment(event.data.get('time', time.time()))}  {event.kind:<7}  {sentence(event)}"


def sentence(event: LiveEvent) -> str:
    """Return what an event of the stream says, in words."""
    return _TEXTS.get(event.kind, _values)(event.data)


def _json_line(event: LiveEvent) -> str:
    return as_json_text({"id": event.id, "kind": event.kind, "data": event.data}, indent=None)


def _state(data: Mapping[str, Any]) -> str:
    return f"{data.get('run_state')} at step {data.get('step_live')}"


def _log_point(data: Mapping[str, Any]) -> str:
    loss = number(data.get("values", {}).get("total_loss_value"), ".5f")
    return f"step {data.get('step')}: loss {loss}"


def _record(data: Mapping[str, Any]) -> str:
    quality_ki, quality_lr = number(data.get("quality_ki_value")), number(data.get("quality_lr_value"))
    return f"{data.get('name')}: quality KI {quality_ki}, LR {quality_lr}"


def _command(data: Mapping[str, Any]) -> str:
    step, result, reason, why = (data.get(key) for key in ("step", "result", "reason", "why"))
    return outcome_sentence(data["kind"], data["state"], step, result, reason, why)


def _alert(data: Mapping[str, Any]) -> str:
    return f"{data.get('name')} {'is on' if data.get('is_on') else 'is over'}: {data.get('sentence')}"


def _run(data: Mapping[str, Any]) -> str:
    return f"{data.get('run_id')} began, {data.get('previous_run_id')} is over"


def _gap(data: Mapping[str, Any]) -> str:
    return f"the log points of steps {data.get('first_step')} to {data.get('last_step')} are left out"


def _logged(data: Mapping[str, Any]) -> str:
    """Return the sentence of an entry of the event log that has no kind of its own in the stream."""
    kind, details = str(data.get("kind")), data.get("details")
    text = details_sentence(kind, details) if isinstance(details, Mapping) else ""
    at_step = f" at step {data['step']}" if data.get("step") else ""
    return f"{kind}{at_step}{': ' if text else ''}{text}"


def details_sentence(kind: str, details: Mapping[str, Any]) -> str:
    """Return the details in words; a reason is a sentence that says it all, with values for programs beside it."""
    value = details.get
    match kind:
        case "started":
            return f"{value('world_size')} ranks" if value("world_size") != 1 else "one rank"
        case "registered":
            return f"start {value('start_number') or ''}".rstrip()
        case "checkpoint":
            return f"{value('checkpoint')} is saved"
        case "rollback":
            return f"from step {value('from_step')} to {value('checkpoint')} ({value('reason')})"
        case "slow rank":
            return _slow_rank(value("rank"), value("own_seconds"))
        case "not finite":
            return f"a loss or gradient was not finite, so no weight changed in step {_plain(value('steps'))}"
        case "alert undelivered":
            return f"{value('name')} does not reach {value('receiver')}: {value('reason')}"
        case "left out" | "skipped":
            return _named(next(iter(details.values()), None))
        case "data changed":
            return ", ".join(f"another {name} set{_counts(change)}" for name, change in details.items())
    if "after" in details:  # a change by the adaptive controller
        after = details["after"]
        return f"{_values(after) if isinstance(after, Mapping) else _plain(after)} ({value('reason')})"
    return str(value("reason") or value("sentence") or _values(details))


def _slow_rank(rank: Any, own_seconds: Any) -> str:
    if rank is None:
        return "all ranks are equally fast again"
    is_known = isinstance(own_seconds, list) and isinstance(rank, int) and 0 <= rank < len(own_seconds)
    own = f" ({_plain(own_seconds[rank])} s per step by itself)" if is_known else ""
    return f"rank {rank} is slower than the others{own}"


def _named(names: Any) -> str:
    """Return how many there are, with the first ones."""
    listed = [str(name) for name in names] if isinstance(names, list) else [str(names)]
    more = len(listed) - MAX_NAMES
    return ", ".join(listed[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _counts(change: Any) -> str:
    return f" ({change.get('count_before')} before, {change.get('count_now')} now)" * isinstance(change, Mapping)


def _values(data: Mapping[str, Any]) -> str:
    """Return names and values; what is nested in them is for programs."""
    return ", ".join(f"{name} {_plain(value)}" for name, value in data.items() if not isinstance(value, Mapping))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries" if len(value) > 3 else ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_TEXTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "state": _state,
    "log": _log_point,
    "record": _record,
    "command": _command,
    "alert": _alert,
    "event": _logged,
    "run": _run,
    "gap": _gap,
}


@click.command
@click.option("--tail", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="The last N lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@json_option
@server_options
def log(client: Client, tail: int, follow: bool, as_json: bool) -> None:
    """Show the last lines of the training's log."""
    if not follow:
        text = client.log(tail)
        click.echo(as_json_text({"log": text})) if as_json else show_text(text)
        return
    for line in followed(client, tail):
        click.echo(as_json_text({"line": line}, indent=None)) if as_json else show_line(line)


def followed(client: Client, tail: int, pause_seconds: float = POLL_SECONDS) -> Iterator[str]:
    """Yield the last `tail` lines of the log and those that are logged afterwards, without end; raises `UserError`.

    A line that is still being written is yielded once it has ended, or once another log has taken the place of its own.
    """
    part, unfinished = client.log_part(tail), ""
    answered_at = time.monotonic()
    while True:
        if not part.is_continued and unfinished:
            yield unfinished
        *lines, unfinished = ((unfinished if part.is_continued else "") + part.text).split("\n")
        yield from lines
        time.sleep(pause_seconds)
        try:
            part = client.log_part(MAX_LINES, part.cursor)
            answered_at = time.monotonic()
        except (ServerUnreachableError, ApiError) as error:
            if not _may_come_back(error) or time.monotonic() - answered_at > MAX_OUTAGE_SECONDS:
                raise
            part = LogPart("", part.cursor, is_continued=True)


def _may_come_back(error: ServerUnreachableError | ApiError) -> bool:
    """Return True if the log may be there again soon; a fresh start moves it away before it has one of its own."""
    return error.is_transient or (isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND)

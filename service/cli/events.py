"""`leitstand events`: prints events as they happen, until Ctrl-C."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from service.cli.options import json_option, needs_escapes
from service.cli.server_options import server_options
from service.cli.text_table import moment, number
from service.client.client import Client, LiveEvent
from service.commands import outcome_sentence


@click.command
@click.option("--kinds", default="", metavar="A,B", help="Only some: state, log, record, command, alert, event.")
@click.option("--after", default="", metavar="ID", help="Begin after the event with this id; without it, now.")
@json_option
@server_options
def events(client: Client, kinds: str, after: str, as_json: bool) -> None:
    """Follow what happens, until Ctrl-C."""
    requested_kinds = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    for event in client.events(requested_kinds, last_event_id=after):
        click.echo(_json_line(event) if as_json else line(event))


def line(event: LiveEvent) -> str:
    """Return an event as one line: time, kind and main values."""
    text = _TEXTS.get(event.kind, _other)(event.data)
    # A state has no time, because it is the present one.
    return f"{moment(event.data.get('time', time.time()))}  {event.kind:<7}  {text}"


def _json_line(event: LiveEvent) -> str:
    return json.dumps({"id": event.id, "kind": event.kind, "data": event.data}, ensure_ascii=needs_escapes())


def _state(data: Mapping[str, Any]) -> str:
    return f"{data.get('run_state')} at step {data.get('step_live')}"


def _log_point(data: Mapping[str, Any]) -> str:
    loss = number(data.get("values", {}).get("total_loss_value"), ".5f")
    return f"step {data.get('step')}: loss {loss}"


def _record(data: Mapping[str, Any]) -> str:
    quality_ki, quality_lr = number(data.get("quality_ki_value")), number(data.get("quality_lr_value"))
    return f"{data.get('name')}: quality KI {quality_ki}, LR {quality_lr}"


def _command(data: Mapping[str, Any]) -> str:
    return outcome_sentence(data["kind"], data["state"], data.get("step"), data.get("result"), data.get("reason"))


def _alert(data: Mapping[str, Any]) -> str:
    return f"{data.get('name')} {'is on' if data.get('is_on') else 'is over'}: {data.get('sentence')}"


def _run(data: Mapping[str, Any]) -> str:
    return f"{data.get('run_id')} began, {data.get('previous_run_id')} is over"


def _gap(data: Mapping[str, Any]) -> str:
    return f"the log points of steps {data.get('first_step')} to {data.get('last_step')} are left out"


def _other(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)


_TEXTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "state": _state,
    "log": _log_point,
    "record": _record,
    "command": _command,
    "alert": _alert,
    "run": _run,
    "gap": _gap,
}

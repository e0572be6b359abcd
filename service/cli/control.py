"""`leitstand validate`, `pause`, `resume`, `checkpoint`, `stop`: ask something of the running training."""

import json
from typing import Any

import click

from service.answers import CommandAnswer
from service.cli.options import json_option, server_options
from service.client import Client
from service.commands import CommandState, Kind
from service.outcome import outcome_text

FAILED = 1
WAIT_SECONDS = 600.0

_HELP = {
    Kind.VALIDATE: "Validate now and save a record; also while paused.",
    Kind.PAUSE: "Pause the training.",
    Kind.RESUME: "Go on after a pause.",
    Kind.CHECKPOINT: "Save a checkpoint now.",
    Kind.STOP: "Finish the step, save a checkpoint and end the training.",
}


def _command_for(kind: Kind) -> click.Command:
    @click.command(kind.value, help=_HELP[kind])
    @click.option("--wait", is_flag=True, help="Wait until the command has ended.")
    @click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=WAIT_SECONDS, show_default=True,
        help="Seconds to wait at most.",
    )  # fmt: skip
    @json_option
    @server_options
    def command(client: Client, wait: bool, timeout: float, as_json: bool) -> int:
        answer = client.submit(kind)
        if wait:
            answer = client.wait(answer["id"], timeout)
        return _show(answer, as_json)

    return command


COMMANDS = tuple(_command_for(kind) for kind in (Kind.VALIDATE, Kind.PAUSE, Kind.RESUME, Kind.CHECKPOINT, Kind.STOP))


def _show(answer: CommandAnswer, as_json: bool) -> int:
    """Print where the command stands; returns the exit code."""
    under_way = answer["state"] in {CommandState.QUEUED, CommandState.RUNNING}
    succeeded = under_way or answer["state"] == CommandState.DONE
    text = outcome_text(answer["kind"], answer["state"], answer["step"], answer["result"], answer["reason"])
    if as_json:
        click.echo(_as_json(answer))
    elif under_way:
        click.echo(f"{text} as command {answer['id']}")
    else:
        click.echo(text if succeeded else f"Error: {text}", err=not succeeded)
    return 0 if succeeded else FAILED


def _as_json(answer: Any) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False)

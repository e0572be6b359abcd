"""`leitstand validate`, `pause`, `set`, `rollback`, …, `settings`, `cancel`: control of the running training."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Literal

import click

from service.api_types import ChangeableSetting, CommandAnswer, RunEntry, SettingsAnswer
from service.cli.options import as_json_text, json_option
from service.cli.server_options import Connect, connected, connection_options, server_options
from service.cli.text_table import SHOWN_ID_LENGTH, show_line, show_text, table
from service.client.client import ApiError, Client, is_final
from service.commands import (
    LAST_PREVIEW_FRAME,
    LATEST,
    MAX_PREVIEW_FRAMES,
    CommandState,
    Kind,
    acceptance_sentence,
    outcome_sentence,
)
from service.errors import UserError

FAILED = 1
WAIT_SECONDS = 600.0

_HELP = {
    Kind.VALIDATE: "Validate now and save a record; also while paused.",
    Kind.PAUSE: "Pause the training.",
    Kind.RESUME: "Go on after a pause.",
    Kind.PREVIEW: "Render a clip with the present weights.",
    Kind.CHECKPOINT: "Save a checkpoint now.",
    Kind.STOP: "Finish the step, save a checkpoint and end the training.",
    Kind.SET: "Change settings while the training runs.",
    Kind.ROLLBACK: "Go back to a checkpoint and on from there.",
}

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

_CONDITIONS: tuple[Option, ...] = (
    click.option("--wait", is_flag=True, help="Wait until the command has ended."),
    click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=WAIT_SECONDS, show_default=True,
        help="Seconds to wait at most.",
    ),
    click.option("--at", type=click.IntRange(1), metavar="STEP", help="Carry it out at this step rather than at once."),
    click.option(
        "--expires", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
        help="Let it expire unless it begins within this time.",
    ),
    click.option("--why", metavar="TEXT", help="Your reason, kept with the command."),
    click.option("--key", metavar="TEXT", help="Give the command at most once under this key, however often you ask."),
    click.option("--dry-run", is_flag=True, help="Only check whether it would be accepted."),
)  # fmt: skip


def _command_for(
    kind: Kind, parameters: Sequence[Option] = (), arguments_of: Callable[..., dict[str, Any]] = dict
) -> click.Command:
    """Return the click command of a kind; `arguments_of` converts the values of `parameters` to its arguments."""

    @json_option
    @server_options
    def command(
        client: Client, wait: bool, timeout: float, at: int | None, expires: float | None, dry_run: bool,
        key: str | None, why: str | None, as_json: bool, **given: Any,
    ) -> int:  # fmt: skip
        arguments = arguments_of(**given)
        if dry_run:
            acceptance = client.submit(kind, arguments, apply_at_step=at, expires_in=expires, dry_run=True, why=why)
            click.echo(as_json_text(acceptance) if as_json else acceptance_sentence(kind, at))
            return 0
        if wait:
            answer = client.carry_out(
                kind, arguments, apply_at_step=at, expires_in=expires, timeout_seconds=timeout, idempotency_key=key,
                why=why,
            )  # fmt: skip
        else:
            answer = client.submit(kind, arguments, apply_at_step=at, expires_in=expires, idempotency_key=key, why=why)
        return _show(answer, as_json)

    for option in reversed((*parameters, *_CONDITIONS)):
        command = option(command)
    return click.command(kind.value, help=_HELP[kind])(command)


def _changes(pairs: Sequence[str]) -> dict[str, Any]:
    """Return {KEY: value} of KEY=VALUE texts, which the server checks; raises `UserError` for any other text."""
    changes: dict[str, Any] = {}
    for text in pairs:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"set takes KEY=VALUE, but got {text!r}.")
        if key.strip() in changes:
            raise UserError(f"{key.strip()} is given twice; give it once.")
        changes[key.strip()] = value.strip()
    return changes


@click.command
@click.argument("command_id", metavar="ID")
@json_option
@server_options
def cancel(client: Client, command_id: str, as_json: bool) -> None:
    """Take back a command that is still queued."""
    answer = _cancel(client, command_id)
    click.echo(as_json_text(answer) if as_json else f"{answer['kind']} cancelled")


def _cancel(client: Client, command_id: str) -> CommandAnswer:
    """Cancel the command with this id, or the queued one whose id begins so, as a table shows it."""
    try:
        return client.cancel(command_id)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND or len(command_id) < SHOWN_ID_LENGTH:
            raise
        queued = client.commands(state=CommandState.QUEUED)
        found = [command["id"] for command in queued if command["id"].startswith(command_id)]
        if len(found) != 1:
            raise
    return client.cancel(found[0])


@click.command
@click.argument("text", metavar="TEXT")
@json_option
@server_options
def name(client: Client, text: str, as_json: bool) -> None:
    """Give the run a name, or "" for none.

    Also a run that has ended.
    """
    _show_description(client.describe(name=text or None), "name", as_json)


@click.command
@click.argument("text", metavar="TEXT")
@json_option
@server_options
def note(client: Client, text: str, as_json: bool) -> None:
    """Write a note about the run, or "" for none.

    Also about a run that has ended.
    """
    _show_description(client.describe(note=text or None), "note", as_json)


def _show_description(answer: RunEntry, part: Literal["name", "note"], as_json: bool) -> None:
    text = answer[part]
    said = f"run {answer['run_id']} has no {part} now" if text is None else f"{part} of run {answer['run_id']}: {text}"
    if as_json:
        click.echo(as_json_text(answer))
    else:
        show_text(f"{said}\n")


@click.command
@click.option("--all", "every", is_flag=True, help="Every setting of a start, its default and meaning; asks no server.")
@json_option
@connection_options
def settings(connect: Connect, every: bool, as_json: bool) -> None:
    """Show the settings that can change while it runs."""
    if every:
        _show_every_setting(as_json)
        return
    with connected(connect) as client:
        answer = client.settings()
    click.echo(as_json_text(answer) if as_json else settings_table(answer))


def _show_every_setting(as_json: bool) -> None:
    from service.config.docs import described_settings  # reads the source of the settings, which no other command does

    columns = ("setting", "default", "value", "meaning")
    groups = described_settings()
    if as_json:
        entries = [dict(zip(columns, _plain_cells(row), strict=True)) for group in groups.values() for row in group]
        click.echo(as_json_text({"settings": entries}))
        return
    for heading, group in groups.items():
        rows = [_plain_cells(row) for row in group]
        click.echo(f"{heading}\n")
        click.echo(f"{table(columns, rows, left=frozenset({0, 1, 2, 3}), wrapped=frozenset({2, 3}))}\n")


def _plain_cells(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the cells without the marks of Markdown."""
    return tuple(cell.replace("`", "") for cell in cells)


validate, pause, resume = _command_for(Kind.VALIDATE), _command_for(Kind.PAUSE), _command_for(Kind.RESUME)
checkpoint, stop = _command_for(Kind.CHECKPOINT), _command_for(Kind.STOP)
set_settings = _command_for(
    Kind.SET, [click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)], _changes
)
preview = _command_for(
    Kind.PREVIEW,
    [
        click.argument("clip", metavar="CLIP"),
        click.option("--frame", type=click.IntRange(0, LAST_PREVIEW_FRAME), default=0, help="The first frame shown."),
        click.option("--frames", type=click.IntRange(1, MAX_PREVIEW_FRAMES), default=1, help="How many; several move."),
    ],
)
rollback = _command_for(Kind.ROLLBACK, [click.argument("checkpoint", default=LATEST)])


def settings_table(answer: SettingsAnswer) -> str:
    """Return a table of the settings that can change: value, value at the start, allowed values."""
    rows = [_row(setting, answer) for setting in answer["changeable"]]
    return table(
        ("setting", "value", "at the start", "may be", ""), rows, left=frozenset({0, 3, 4}), wrapped=frozenset({3, 4})
    )


def _row(setting: ChangeableSetting, answer: SettingsAnswer) -> tuple[str, ...]:
    name = setting["name"]
    mark = "held" if name in answer["pins"] else "changed" if name in answer["changes"] else ""
    pending = [f"soon {_plain(change['changes'][name])}" for change in answer["pending"] if name in change["changes"]]
    marks = ", ".join([mark, *pending] if mark else pending)
    return name, _plain(setting["value"]), _plain(setting["start_value"]), setting["range"], marks


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show(answer: CommandAnswer, as_json: bool) -> int:
    """Print the command's state or outcome; returns the exit code."""
    succeeded = not is_final(answer) or answer["state"] == CommandState.DONE
    text = outcome_sentence(answer["kind"], answer["state"], answer["step"], answer["result"], answer["reason"])
    if as_json:
        click.echo(as_json_text(answer))
    elif not is_final(answer):
        show_line(f"{text}{_at_step(answer)} as command {answer['id']}")
    else:
        show_line(text if succeeded else f"Error: {text}", err=not succeeded)
    return 0 if succeeded else FAILED


def _at_step(answer: CommandAnswer) -> str:
    """Return the step that a command waits for as text; servers of earlier versions do not send it."""
    step = answer.get("apply_at_step")
    return "" if step is None else f" for step {step}"

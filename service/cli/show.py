"""`leitstand state`, `runs`, `ranks`, `commands`, `alerts`, `log`, `checkpoints`: print the API's answers as tables."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import click

from service.api_types import CommandAnswer, RankEntry, RunEntry
from service.cli.options import as_json_text, json_option
from service.cli.server_options import server_options
from service.cli.stats.tables import show_unreadable
from service.cli.text_table import (
    MISSING,
    SHOWN_ID_LENGTH,
    duration,
    number,
    pairs,
    short_moment,
    show_line,
    show_text,
    size,
    table,
)
from service.client.artifacts import PAGE_SIZE
from service.client.client import Client
from service.commands import CommandState, Kind, outcome_sentence
from service.run.ledger.answer import answer_of
from service.run.ledger.incident import Incident


@click.command
@json_option
@server_options
def state(client: Client, as_json: bool) -> None:
    """Show what the training is doing now."""
    snapshot = client.state()
    click.echo(as_json_text(snapshot) if as_json else summary(snapshot))


def summary(snapshot: Mapping[str, Any]) -> str:
    """Return the main values of the snapshot, one per line; missing values are shown as a dash."""
    value = snapshot.get
    reason = f" ({value('run_reason')})" if value("run_reason") else ""
    step = max((known for known in (value("step_live"), value("step_current")) if known is not None), default=None)
    epoch_step = f"step {_plain(value('epoch_step_current'))} of {_plain(value('epoch_step_total'))}"
    ranks = f"on {_plain(value('world_size'))} ranks"
    quality, best = number(value("quality_ki_value")), number(value("best_quality_ever"))
    return pairs(
        [
            ("run", _plain(value("run_id"))),
            *((part, text) for part in ("name", "note") if (text := value(f"run_{part}"))),
            ("state", f"{_plain(value('run_state'))}{reason}"),
            ("heard of", f"{duration(value('age_seconds'))} ago"),
            ("step", f"{_plain(step)} of {_plain(value('step_max'))}"),
            ("epoch", f"{_plain(value('epoch_num'))}, {epoch_step}"),
            ("time left", _plain(value("eta_total_formatted"))),
            *_ledger(snapshot),
            ("step time", f"{number(value('iteration_duration'), '.3f')} s"),
            ("samples", f"{number(value('samples_per_second'), '.1f')} per second {ranks}"),
            ("loss", number(value("total_loss_value"), ".5f")),
            ("learning rate", f"{number(value('learning_rate_value'), '.3g')} ({_plain(value('lr_phase_name'))})"),
            ("quality KI", f"{quality} (LR {number(value('quality_lr_value'))}, best {best})"),
            ("PSNR KI", f"{number(value('psnr_ki_db'), '.2f')} dB (LR {number(value('psnr_lr_db'), '.2f')} dB)"),
        ]
    )


def _ledger(snapshot: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the time went to and the last incident; nothing of a server of an earlier version."""
    ledger = answer_of(snapshot)
    if ledger is None:
        return []
    ratio, count = ledger.useful_time_ratio, sum(ledger.incident_counts.values())
    share = "not known" if ratio is None else f"{100 * ratio:.1f} % of {duration(ledger.wall_seconds)}"
    lost = f", {ledger.steps_lost} steps lost" if ledger.steps_lost else ""
    counted = "no incident" if not count else f"{count} incident{'s' * (count > 1)}{lost}"
    last = [("last incident", incident_text(ledger.incidents[0]))] if ledger.incidents else []
    return [("useful time", f"{share}; {counted}"), *last]


def incident_text(one: Incident) -> str:
    """Return an incident in one line."""
    what = one.kind.value.replace("_", " ")
    ranks = "" if one.ranks is None else f" (rank {', '.join(map(str, one.ranks))})"
    seen_at = one.began_at if one.detected_at is None else one.detected_at
    at = "" if seen_at is None else f" at {short_moment(seen_at)}"
    if not one.is_over:
        return f"{what}{ranks}{at}, still lasts"
    seconds = one.recovery_seconds
    after = "" if seconds is None else f" after {seconds:.1f} s"
    source = "" if one.source is None else f" from {one.source}"
    return f"{what}{ranks}{at}, went on{after}{source}"


def _plain(value: Any) -> str:
    return MISSING if value is None else str(value)


@click.command
@json_option
@server_options
def alerts(client: Client, as_json: bool) -> None:
    """Show the alerts that are on now."""
    answer = client.alerts()
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["alerts"]:
        rows = [(alert["name"], short_moment(alert["since"]), alert["sentence"]) for alert in answer["alerts"]]
        click.echo(table(("alert", "since", ""), rows, left=frozenset({0, 1, 2}), wrapped=frozenset({2})))
    else:
        click.echo("No alert is on.")


@click.command
@json_option
@server_options
def checkpoints(client: Client, as_json: bool) -> None:
    """List the saved states in the order of their steps."""
    answer = client.checkpoints()
    if as_json:
        click.echo(as_json_text(answer))
        return
    if answer["checkpoints"]:
        rows = [
            (entry["name"], str(entry["step"]), size(entry["size_bytes"]), short_moment(entry["saved_at"]),
             ", ".join(entry["links"]))
            for entry in answer["checkpoints"]
        ]  # fmt: skip
        click.echo(table(("checkpoint", "step", "size", "saved at", ""), rows, left=frozenset({0, 3, 4})))
    else:
        click.echo("No checkpoint yet: ask for one with `leitstand checkpoint`.")
    show_unreadable(answer["unreadable"])


COMMAND_HEADINGS = ("asked at", "by", "from", "id", "command")


@click.command
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only commands of this kind.")
@click.option("--state", type=click.Choice([state.value for state in CommandState]), help="Only in this state.")
@click.option("--actor", metavar="NAME", help="Only those that this person asked for.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="The N newest.")
@json_option
@server_options
def commands(client: Client, kind: str | None, state: str | None, actor: str | None, limit: int, as_json: bool) -> None:
    """List the run's commands, newest first."""
    commands_iterator = client.commands(kind=kind, state=state, actor=actor, page_size=min(limit, PAGE_SIZE))
    newest = list(islice(commands_iterator, limit))
    if as_json:
        click.echo(as_json_text({"commands": newest}))
    elif newest:
        click.echo(
            table(
                COMMAND_HEADINGS,
                [_command_row(command) for command in newest],
                left=frozenset(range(len(COMMAND_HEADINGS))),
                wrapped=frozenset({1, 4}),
            )
        )
    else:
        click.echo("No such command was given.")


def _command_row(command: CommandAnswer) -> tuple[str, ...]:
    outcome = outcome_sentence(
        command["kind"], command["state"], command["step"], command["result"], command["reason"], command.get("why")
    )
    shown_id = command["id"][:SHOWN_ID_LENGTH]
    return short_moment(command["created_at"]), command["actor"], command["source"], shown_id, outcome


RANK_HEADINGS = ("rank", "host", "pid", "device", "stage", "for", "step", "heard of")

RANK_TEXTS = frozenset({1, 3, 4})


@click.command
@click.option("--stack", "rank", type=click.IntRange(min=0), metavar="N", help="Show where in the program rank N is.")
@json_option
@server_options
def ranks(client: Client, rank: int | None, as_json: bool) -> None:
    """Show what every rank is doing now."""
    if rank is not None:
        stack = client.stack(rank)
        if as_json:
            click.echo(as_json_text({"rank": rank, "stack": stack}))
        else:
            show_text(stack)
        return
    answer = client.ranks()
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["ranks"]:
        click.echo(table(RANK_HEADINGS, [_rank_row(entry) for entry in answer["ranks"]], RANK_TEXTS, frozenset({1})))
    else:
        click.echo("No rank has reported yet: they do within seconds of the start.")


def _rank_row(entry: RankEntry) -> tuple[str, ...]:
    texts = {name: MISSING if value is None else str(value) for name, value in entry.items()}
    return (
        texts["rank"],
        texts["host"],
        texts["pid"],
        texts["device"],
        texts["stage"],
        duration(entry["stage_seconds"]),
        texts["step"],
        duration(entry["age_seconds"]),
    )


RUN_HEADINGS = ("run", "state", "step", "of", "started", "heard of", "name, directory")

RUN_TEXTS = frozenset({0, 1, 4, 6})


@click.command
@json_option
@server_options
def runs(client: Client, as_json: bool) -> None:
    """List the runs of the control room.

    One is the default; any other is meant with --run RUN.
    """
    answer = client.runs()
    if as_json:
        click.echo(as_json_text(answer))
        return
    if answer["runs"]:
        click.echo(table(RUN_HEADINGS, [_run_row(entry) for entry in answer["runs"]], RUN_TEXTS, frozenset({6})))
    else:
        click.echo("No run yet: start one with `leitstand up`.")
    for skipped in answer["skipped"]:
        show_line(f"skipped: {skipped['directory']} ({skipped['reason']})", err=True)


def _run_row(entry: RunEntry) -> tuple[str, ...]:
    directory = f"{entry['directory'] or MISSING}{' (default)' if entry['is_default'] else ''}"
    return (
        entry["run_id"],
        entry["run_state"],
        str(entry["step"]),
        MISSING if entry["step_max"] is None else str(entry["step_max"]),
        short_moment(entry["started_at"]),
        duration(entry["age_seconds"]),
        ", ".join(filter(None, (entry.get("name"), directory))),
    )

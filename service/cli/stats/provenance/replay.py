"""`leitstand replay`: the interventions in a run as a file, from which another run repeats them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from service import __version__
from service.atomic_files import atomic_file, read_small_file
from service.cli.options import as_json_text, json_option
from service.cli.stats.stored.events import read_run
from service.cli.stats.tables import explained_write_errors
from service.cli.text_table import show_line, table
from service.config.loader import SECRET
from service.errors import RunDirectoryError
from service.run.directory import RunDirectory
from service.run.records.provenance.provenance import read
from service.run.records.provenance.replay.comparison import COMPARED, influences
from service.run.records.provenance.replay.file import Intervention, ReplayFile, read_replay
from service.run.records.provenance.replay.lineage import Lineage

HEADINGS = ("branch", "step", "what", "arguments", "who", "why")


@click.group
def replay() -> None:
    """Repeat in a new run what people did to another."""


@replay.command
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("replay.json"), show_default=True, metavar="FILE",
    help="The file; `-` for the output.",
)  # fmt: skip
@click.option("--store-url", envvar="STORE_URL", default="", metavar="URL", help="The shared store, if there is one.")
def export(folder: Path, out: Path, store_url: str) -> None:
    """Write the interventions in a run into a file.

    Settings, rollbacks, validations and checkpoints of the run directory RUN, each at the step at which it took effect.
    `leitstand train --replay FILE` repeats them.
    """
    found = replay_of(folder, store_url)
    if str(out) == "-":
        click.echo(found.encode(), nl=False)
    else:
        with explained_write_errors(out), atomic_file(out) as file:
            file.write(found.encode())
        show_line(f"{out}: {len(found.interventions)} interventions from {found.begin} to {found.end}")
    for remark in found.remarks:
        show_line(remark, err=True)


@replay.command
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@json_option
def show(file: Path, as_json: bool) -> None:
    """Check a file, and show what it would repeat."""
    found = read_replay(file)
    if as_json:
        click.echo(as_json_text(json.loads(found.encode())))
        return
    if found.interventions:
        click.echo(table(HEADINGS, [_row(item) for item in found.interventions], left=frozenset({2, 3, 4, 5})))
    show_line(f"From {found.begin} to {found.end} of run {found.run_id}.")
    for remark in found.remarks:
        show_line(remark, err=True)


def replay_of(folder: Path, store_url: str = "") -> ReplayFile:
    """Return the replay of a run directory. Raises `UserError`."""
    directory = RunDirectory(folder.resolve())
    run_id = directory.run_id()
    if run_id is None:
        raise RunDirectoryError(f"{folder} holds no run; name a run directory.")
    made_with = _made_with(directory)
    run = read_run(directory.root, run_id, store_url)
    lineage = Lineage(made_with.get("settings", {}))
    for event in run.events:
        lineage.add(event.step, event.kind, event.details)
    return lineage.file(run_id, run.step, made_with, __version__)


def _made_with(directory: RunDirectory) -> dict[str, Any]:
    """Return from what the run's last start was made, as far as a replay compares it; less if that is not known."""
    identity = directory.read_identity()
    try:
        found: Mapping[str, Any] = read(directory, (identity and identity.provenance) or "")
    except (OSError, ValueError, RecursionError):
        found = _settings_alone(directory)
    found = {**found, "leitstand": (found.get("code") or {}).get("version")}
    settings = {
        name: value
        for name, value in (found.get("settings") or {}).items()
        if influences(name) and name.lower() not in SECRET
    }
    return {name: found[name] for name in COMPARED if found.get(name) is not None} | {"settings": settings}


def _settings_alone(directory: RunDirectory) -> dict[str, Any]:
    try:
        return {"settings": dict(json.loads(read_small_file(directory.config))["settings"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _row(item: Intervention) -> tuple[str, ...]:
    arguments = ", ".join(f"{name}={value}" for name, value in item.arguments.items())
    what = f"{item.kind} (by itself)" if item.is_automatic else str(item.kind)
    return (str(item.at.branch), str(item.at.step), what, arguments, item.actor, item.why or "")

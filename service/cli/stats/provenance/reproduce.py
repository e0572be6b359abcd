"""`leitstand reproduce`: the commands that make a run again, and what is not the same on this machine."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from service.cli.options import as_json_text, json_option
from service.cli.stats.provenance.replay import replay_of
from service.cli.text_table import show_line
from service.errors import RunDirectoryError, UserError, plain_reason
from service.run.directory import RunDirectory
from service.run.records.provenance.given_settings import given_settings, option
from service.run.records.provenance.provenance import Provenance, differences, read


@click.command
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RUN")
@click.option("--to", "target", default="", metavar="DIR", help="The new run directory; by default RUN-again.")
@json_option
def reproduce(folder: Path, target: str, as_json: bool) -> None:
    """Print the commands that make a run again.

    Of the last start of the run directory RUN, and what is not the same on this machine: code, packages, data. What
    was changed while it ran (`leitstand set`, `rollback`) is repeated from a file of `leitstand replay export`.
    """
    directory = RunDirectory(folder.resolve())
    found = _provenance(directory)
    lines = [*_commands(directory, found, target or f"{folder}-again")]
    differing = differences(found) + _other_starts(directory) + _steered(directory)
    if as_json:
        click.echo(as_json_text({"commands": lines, "differences": differing, "provenance": dict(found)}))
        return
    for line in lines:
        click.echo(line)
    for sentence in differing:
        show_line(f"differs: {sentence}", err=True)


def _other_starts(directory: RunDirectory) -> list[str]:
    """Return a sentence if earlier starts of the run were made from something else."""
    others = len(list(directory.provenance.glob("*.json"))) - 1
    return (
        [f"earlier starts of this run: {others} were made otherwise; these commands are of the last."] if others else []
    )


def _steered(directory: RunDirectory) -> list[str]:
    """Return a sentence if the run was changed while it ran, as far as its own store tells."""
    try:
        count = len(replay_of(directory.root).interventions)
    except UserError:
        return []
    file = f"leitstand replay export {shlex.quote(str(directory.root))}"
    return [f"interventions: {count} while it ran; `{file}` makes the file for --replay."] if count else []


def _provenance(directory: RunDirectory) -> Provenance:
    identity = directory.read_identity()
    if identity is None or identity.provenance is None:
        raise RunDirectoryError(
            f"{directory.root} does not say from what its last start was made; runs of earlier versions do not."
        )
    try:
        return read(directory, identity.provenance)
    except (OSError, ValueError, RecursionError) as error:
        path = directory.provenance / f"{identity.provenance}.json"
        raise UserError(f"{path} cannot be read ({plain_reason(error)}); restore it.") from None


def _commands(directory: RunDirectory, found: Provenance, target: str) -> Iterator[str]:
    yield from _code_commands(directory, found.get("code", {}))
    shown, secrets = given_settings(found)
    for name in secrets:
        yield f"# {name} was set, and is a secret: set it in the environment"
    if found.get("parent_run"):
        yield f"# it began with the weights of run {found['parent_run']} at step {found.get('parent_step')}"
    ranks = f"--ranks {found.get('world_size', 1)}"
    yield " ".join(["leitstand train", ranks, *shown, option("DATA_ROOT", target)])


def _code_commands(directory: RunDirectory, code: Mapping[str, Any]) -> Iterator[str]:
    """Yield how to come by the same code."""
    if code.get("commit") is None:
        yield f"# Leitstand {code.get('version')}, installed without its repository"
        return
    yield f"git checkout {code['commit']}"
    sha256 = code.get("diff_sha256")
    if sha256 and code.get("is_diff_kept"):
        yield f"git apply {shlex.quote(str(directory.provenance / f'{sha256}.diff'))}"
    elif sha256:
        yield f"# its uncommitted changes, {code.get('diff_bytes')} bytes with the sha256 {sha256}, were not kept"

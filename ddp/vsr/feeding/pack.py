"""Command that packs a patch set: `python -m ddp.vsr.feeding.pack --dataset DIR --frames 5 --scale 3`.

Exit codes: 0 done; 2 bad input; 143 ended by SIGTERM, without a copy.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ddp.vsr.packed_patches import PACKED_FILE, write_packed
from ddp.vsr.patch_set import PatchSet
from ddp.vsr.unreadable import ignore_size_warnings
from service.errors import UserError, plain_reason, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination

SHOWN_EVERY = 5000  # pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack by the arguments; print a UserError to standard error; return the exit code."""
    escape_unencodable((sys.stdout, sys.stderr))
    ignore_size_warnings()
    parser = argparse.ArgumentParser(prog="leitstand pack", description="Make a packed copy of a patch set.")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--scale", type=int, required=True)
    parsed = parser.parse_args(arguments)
    try:
        with exiting_on_termination():
            _pack(PatchSet.open(parsed.dataset, "Patches", parsed.frames, parsed.scale))
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    return 0


def _pack(patches: PatchSet) -> None:
    """Write the copy. Raises `UserError`."""
    target = patches.folder / PACKED_FILE

    def show(done: int) -> None:
        if done % SHOWN_EVERY == 0:
            click.echo(f"{done} of {len(patches)} pairs")

    try:
        count = write_packed(patches, show)
    except OSError as error:
        raise UserError(f"{target} could not be written ({plain_reason(error)}): make room, or leave it out") from error
    click.echo(printable(f"{target} holds {count} of {len(patches)} pairs, {target.stat().st_size / 2**20:.0f} MiB"))


if __name__ == "__main__":
    sys.exit(main())

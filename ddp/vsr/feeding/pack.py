"""Command that packs a patch set: `python -m ddp.vsr.feeding.pack --dataset DIR --frames 5 --scale 3`.

Several `--dataset` are packed one after the other. With `--container` and `--out` it writes the (first) set as LMDB
databases or tar shards into another folder instead.
Exit codes: 0 done; 2 bad input; 130 and 143 interrupted, without a copy.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from ddp.vsr.feeding.containers.export import export
from ddp.vsr.packed_patches import PACKED_FILE, write_packed
from ddp.vsr.patch_set import PatchSet, Split
from ddp.vsr.unreadable import ignore_size_warnings
from service.errors import UserError, plain_reason, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination

INTERRUPTED = 130
SHOWN_EVERY = 5000  # pairs
CONTAINERS = ("lmdb", "shards")
SIDES: tuple[Split, ...] = ("Patches", "Val")


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack by the arguments; print a UserError to standard error; return the exit code."""
    escape_unencodable((sys.stdout, sys.stderr))
    ignore_size_warnings()
    parser = argparse.ArgumentParser(prog="leitstand pack", description="Make a packed copy of a patch set.")
    parser.add_argument("--dataset", dest="datasets", type=Path, action="append", required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--scale", type=int, required=True)
    parser.add_argument("--container", choices=CONTAINERS)
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    if bool(parsed.container) != bool(parsed.out):
        parser.error("--container and --out are given together")
    try:
        with exiting_on_termination():
            if parsed.container:
                _export(parsed.datasets[0], parsed.frames, parsed.scale, parsed.out, parsed.container)
                return 0
            for dataset in parsed.datasets:
                _pack(PatchSet.open(dataset, "Patches", parsed.frames, parsed.scale))
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _shown(total: int) -> Callable[[int], None]:
    """Return a function that shows how many of so many pairs are done, now and then."""

    def show(done: int) -> None:
        if done % SHOWN_EVERY == 0:
            click.echo(f"{done} of {total} pairs")

    return show


def _export(root: Path, n_frames: int, scale: int, target: Path, container: str) -> None:
    """Write the set once more. Raises `UserError`."""
    sides = [PatchSet.open(root, side, n_frames, scale) for side in SIDES]
    total = sum(map(len, sides))
    try:
        count = export(sides, target, container, _shown(total))
    except OSError as error:
        raise UserError(f"{target} could not be written ({plain_reason(error)}): make room, or take another") from error
    click.echo(printable(f"{target} holds {count} of {total} pairs: DATASET_ROOT={target} trains on it"))


def _pack(patches: PatchSet) -> None:
    """Write the copy. Raises `UserError`."""
    target = patches.folder / PACKED_FILE
    try:
        count = write_packed(patches, _shown(len(patches)))
    except OSError as error:
        raise UserError(f"{target} could not be written ({plain_reason(error)}): make room, or leave it out") from error
    click.echo(printable(f"{target} holds {count} of {len(patches)} pairs, {target.stat().st_size / 2**20:.0f} MiB"))


if __name__ == "__main__":
    sys.exit(main())

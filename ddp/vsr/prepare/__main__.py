"""Command that converts videos to a patch set, atomically: `python -m ddp.vsr.prepare --dataset DIR --clips small`.

    find or fetch -> survey (size, scenes) -> split by scene -> choose windows -> cut, shrink, write -> dataset.json,
    and the same for other programs in croissant.json

Everything is built in a hidden folder beside DATASET, which is renamed when complete. Never changes or deletes an
existing set: with the same settings there is nothing to do, with others it is an error.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ddp.vsr.prepare.clips import CLIP_SETS
from ddp.vsr.prepare.manifest import (
    PatchSettings,
)
from ddp.vsr.prepare.pipeline import LARGE_COUNTS, SMALL_COUNTS, prepare_clips, prepare_videos
from ddp.vsr.unreadable import ignore_size_warnings
from service.errors import UserError, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination


def _show(line: str) -> None:
    click.echo(printable(line))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leitstand prepare", description="Make a patch set from videos.")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the patch set (DATASET_ROOT)")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--videos", type=Path, help="folder of your own videos and image sequences (VIDEO_ROOT)")
    origin.add_argument("--clips", choices=sorted(CLIP_SETS), help="set of real clips to fetch")
    parser.add_argument("--clips-folder", type=Path, help="where clips are kept; default: `clips` beside the set")
    parser.add_argument("--keep", action="store_true", help="let an existing set stay if the videos are others now")
    for item in fields(PatchSettings):
        default = None if item.name in LARGE_COUNTS else item.default
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=type(item.default), default=default, metavar="N")
    return parser


def _settings_of(parsed: Mapping[str, Any]) -> PatchSettings:
    counts = SMALL_COUNTS if parsed["clips"] == "small" else LARGE_COUNTS
    given: dict[str, Any] = {item.name: parsed[item.name] for item in fields(PatchSettings)}
    given.update({name: count for name, count in counts.items() if given[name] is None})
    return PatchSettings(**given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare a patch set by the arguments; print a UserError to standard error; return the exit code."""
    escape_unencodable((sys.stdout, sys.stderr))  # names of videos may hold any character
    parsed = vars(_parser().parse_args(arguments))
    ignore_size_warnings()
    try:
        settings = _settings_of(parsed)
        dataset: Path = parsed["dataset"]
        with exiting_on_termination():
            if parsed["clips"]:
                folder = parsed["clips_folder"] or dataset.absolute().parent / "clips"
                prepare_clips(parsed["clips"], folder, dataset, settings, _show)
            else:
                prepare_videos(parsed["videos"], dataset, settings, _show, keep=parsed["keep"])
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Command that converts videos to a patch set, atomically: `python -m ddp.vsr.prepare --dataset DIR --clips small`.

    find or fetch -> survey (size, scenes) -> split by scene -> choose windows -> cut, shrink, write -> dataset.json,
    and the same for other programs in croissant.json

Everything is built in a hidden folder beside DATASET, which is renamed when complete; after an interruption it stays,
and the same command goes on. Never changes or deletes an existing set: with the same settings there is nothing to do,
with others it is an error. Exit codes: 0 done; 2 bad input, or a full disk; 130 and 143 interrupted.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ddp.vsr.prepare.clips import CLIP_SETS
from ddp.vsr.prepare.jobs.processes import core_count
from ddp.vsr.prepare.manifest import PatchSettings
from ddp.vsr.prepare.pipeline import LARGE_COUNTS, SMALL_COUNTS, Work, prepare_clips, prepare_videos
from ddp.vsr.unreadable import ignore_size_warnings
from service.errors import UserError, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination

INTERRUPTED = 130
MAX_WORKERS = 256
ERASE_LINE = "\r\x1b[2K"


class _Console:
    """Shows lines, and below them on a terminal one that is replaced."""

    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal = is_terminal
        self._erase = ""

    def show(self, line: str) -> None:
        """Print a line."""
        click.echo(f"{self._erase}{printable(line)}")
        self._erase = ""

    def live(self, line: str) -> None:
        """Replace the last line, if it was shown by this."""
        width = shutil.get_terminal_size().columns - 1
        self._erase = ERASE_LINE
        click.echo(f"{ERASE_LINE}{printable(line)[:width]}", nl=False)

    def work(self, workers: int) -> Work:
        """Return how the work is done: by so many processes, shown here."""
        return Work(self.show, workers or core_count(), self.live if self.is_terminal else None)

    def close(self) -> None:
        """Erase the line that is replaced."""
        click.echo(self._erase, nl=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leitstand prepare", description="Make a patch set from videos.")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the patch set (DATASET_ROOT)")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--videos", type=Path, help="folder of your own videos and image sequences (VIDEO_ROOT)")
    origin.add_argument("--clips", choices=sorted(CLIP_SETS), help="set of real clips to fetch")
    parser.add_argument("--clips-folder", type=Path, help="where clips are kept; default: `clips` beside the set")
    parser.add_argument("--keep", action="store_true", help="let an existing set stay if the videos are others now")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes at work; 0: one for each core")
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
    console = _Console(sys.stdout.isatty())
    try:
        with exiting_on_termination(), closing(console):
            _prepare(parsed, console.work(_checked_workers(parsed["workers"])))
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on with what is done.", err=True)
        return INTERRUPTED
    return 0


def _checked_workers(count: int) -> int:
    if not 0 <= count <= MAX_WORKERS:
        raise UserError(
            f"the number of processes is {count}, but must be between 0 (one for each core) and {MAX_WORKERS}"
        )
    return count


def _prepare(parsed: Mapping[str, Any], work: Work) -> None:
    settings, dataset = _settings_of(parsed), parsed["dataset"]
    if parsed["clips"]:
        folder = parsed["clips_folder"] or dataset.absolute().parent / "clips"
        prepare_clips(parsed["clips"], folder, dataset, settings, work)
    else:
        prepare_videos(parsed["videos"], dataset, settings, work, keep=parsed["keep"])


if __name__ == "__main__":
    sys.exit(main())

"""Command that enlarges a video, a picture or a folder of pictures: `python -m ddp.inference.upscale IN OUT --run DIR`.

Exit codes: 0 done; 2 bad input, also if a picture of a folder could not be read; 130 and 143 interrupted, what is done
is kept for the next start.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import click
import torch

from ddp.checkpoint.network_shape import OWN_WORKLOAD
from ddp.checkpoint.shipped.weights import SHIPPED, gain_sentence
from ddp.inference.network import open_network
from ddp.inference.upscale.work import Wishes, upscale
from ddp.vsr.unreadable import ignore_size_warnings
from service.config.loader import LoadedConfig, load_config
from service.errors import SettingError, UserError, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination
from service.run.directory import RunDirectory

INTERRUPTED = 130
MAX_RATE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Upscale by the arguments; print a UserError to standard error; return the exit code."""
    escape_unencodable((sys.stdout, sys.stderr))  # names of files may hold any character
    ignore_size_warnings()
    parsed = _parser().parse_args(arguments)
    try:
        with exiting_on_termination():
            left_out = _run(parsed)
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on with what is done.", err=True)
        return INTERRUPTED
    for sentence in left_out:
        click.echo(f"Error: {printable(sentence)} (left out)", err=True)
    return UserError.exit_code if left_out else 0


def _run(parsed: argparse.Namespace) -> list[str]:
    loaded = load_config(parsed.config, parsed.set, os.environ)
    config = loaded.config
    device = device_for(config.device)
    network = open_network(config, parsed.run or config.data_root, parsed.from_file or _default_weights(parsed, loaded))
    wishes = Wishes(
        tile=parsed.tile,
        quality=parsed.quality,
        rate=_rate_of(parsed.rate),
        replaces=parsed.replace,
        with_sound=not parsed.no_sound,
        until_damage=parsed.until_damage,
        maps_hdr=parsed.map_hdr,
    )
    return upscale(parsed.source, parsed.target, network, device, wishes, _show)


def _default_weights(parsed: argparse.Namespace, loaded: LoadedConfig) -> Path | None:
    """Return the shipped weights, and say so, where nobody names a run and the default one does not exist."""
    is_named = parsed.run is not None or "DATA_ROOT" in loaded.origins or loaded.config.workload != OWN_WORKLOAD
    if is_named or RunDirectory(loaded.config.data_root).checkpoints.exists():
        return None
    _show(f"No run is named: this takes the shipped weights, {gain_sentence()}; --run DIR or --from FILE takes yours")
    return Path(SHIPPED)


def _rate_of(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= MAX_RATE:
        raise UserError(f"--rate is {text!r}: give pictures per second up to {MAX_RATE}, as 25 or 30000/1001")
    return rate


def device_for(wanted: str) -> torch.device:
    """Return the device that the setting DEVICE asks for. Raises `SettingError`."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise SettingError("DEVICE is cuda, but torch sees no CUDA device; mend the driver, or set DEVICE to auto.")
    return torch.device("cuda" if has_gpu and wanted != "cpu" else "cpu")


def _show(line: str) -> None:
    click.echo(printable(line))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leitstand upscale", description="Enlarge a video or pictures.")
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--run", type=Path)
    origin.add_argument("--from", dest="from_file", type=Path)
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--quality", type=int, default=16)
    parser.add_argument("--rate", default="25")
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--no-sound", action="store_true")
    parser.add_argument("--until-damage", action="store_true")
    parser.add_argument("--map-hdr", action="store_true")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    return parser


if __name__ == "__main__":
    sys.exit(main())

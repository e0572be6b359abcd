"""Command that measures a trained network: `python -m ddp.inference.evaluate [NAME=]SET … --run DIR`.

Exit codes: 0 done; 2 bad input, also if a clip could not be measured; 130 and 143 interrupted, nothing is written.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from ddp.inference.evaluate.clips import ReferenceSet, open_set
from ddp.inference.evaluate.report import as_json, as_text
from ddp.inference.evaluate.work import Wishes, evaluate
from ddp.inference.network import TrainedNetwork, open_networks
from ddp.inference.upscale.__main__ import device_for
from ddp.vsr.prepare.jobs.processes import core_count
from ddp.vsr.unreadable import ignore_size_warnings
from service.atomic_files import write_atomically
from service.config.data_sources import named_sets
from service.config.loader import load_config
from service.config.settings import RunConfig
from service.errors import SettingError, UserError, plain_reason, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate by the arguments; print a UserError to standard error; return the exit code."""
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
        return INTERRUPTED
    for sentence in left_out:
        click.echo(f"Error: {printable(sentence)} (left out)", err=True)
    return UserError.exit_code if left_out else 0


def _run(parsed: argparse.Namespace) -> list[str]:
    """Measure, print, and write the file that is asked for; return a sentence for each clip that was left out."""
    config = load_config(parsed.config, parsed.set, os.environ).config
    networks = open_networks(config, parsed.run or config.data_root, parsed.from_file)
    sets = _sets(parsed, config, next(iter(networks.values())))
    devices = _devices(config)
    wishes = Wishes(config.val_border, parsed.tile, parsed.workers or _workers(devices))
    found = evaluate(sets, networks, devices, wishes, lambda line: click.echo(printable(line), err=True))
    if not any(item.clips for item in found):
        raise UserError(f"no clip could be measured: {'; '.join(s for item in found for s in item.left_out[:3])}")
    click.echo(printable(as_text(found), kept="\n"))
    if parsed.out is not None:
        _write(parsed.out, as_json(found, networks, _protocol(config, networks)))
    return [sentence for item in found for sentence in item.left_out]


def _sets(parsed: argparse.Namespace, config: RunConfig, network: TrainedNetwork) -> list[ReferenceSet]:
    """Open the sets that are given, or else those of EVALUATION_SETS. Raises `UserError`."""
    named = named_sets(parsed.sets or config.evaluation_sets.split(","))
    if not named:
        raise SettingError("No set is given: name folders of clips (the truth), or set EVALUATION_SETS.")
    degradation = str(network.settings.get("degradation", config.degradation))
    return [open_set(name, path, network.n_frames, network.scale, degradation) for name, path in named.items()]


def _devices(config: RunConfig) -> list[torch.device]:
    device = device_for(config.device)
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    return [torch.device("cuda", number) for number in range(count)] if device.type == "cuda" else [device]


def _workers(devices: Sequence[torch.device]) -> int:
    """Return one process for each GPU, or for each core."""
    return len(devices) if devices[0].type == "cuda" else core_count()


def _protocol(config: RunConfig, networks: Mapping[str, TrainedNetwork]) -> dict[str, Any]:
    network = next(iter(networks.values()))
    return {
        "scale": network.scale,
        "n_frames": network.n_frames,
        "degradation": network.settings.get("degradation", config.degradation),
        "border": config.val_border,
    }


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} could not be written ({plain_reason(error)}): make room, or name another") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leitstand evaluate", description="Measure a network on clips.")
    parser.add_argument("sets", nargs="*", metavar="[NAME=]SET")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--run", type=Path)
    origin.add_argument("--from", dest="from_file", type=Path)
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    return parser


if __name__ == "__main__":
    sys.exit(main())

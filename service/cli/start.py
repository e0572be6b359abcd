"""`leitstand train`, `serve`, `prepare`, `upscale`, `evaluate` and others, which become another program; and `fork`."""

import os
from pathlib import Path

import click

from service.auth.hosts import require_safe_address
from service.cli.options import nodes_options, ranks_options, replace_process, replay_option, settings_options
from service.config.settings import RunConfig
from service.config.source import SettingsSource
from service.errors import SettingError
from service.launcher.machines.nodes import Nodes
from service.launcher.machines.tasks import require_single_task
from service.launcher.ports import address_text, require_free_port
from service.launcher.programs import (
    api_program,
    count_ranks,
    inference_program,
    packing_program,
    preparation_program,
    require_patches,
    require_sources,
    trainer_program,
)
from service.launcher.termination import announcements_held_back, terminate_on_announcements
from service.run.directory import RunDirectory
from service.run.discovery import RunFolders, overrides_for
from service.run.records.provenance.given_settings import given_settings, option
from service.run.records.provenance.provenance import read


@click.command
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Processes at work; 0: one for each core.")
@settings_options
def prepare(source: SettingsSource, workers: int) -> None:
    """Make the patch set from videos.

    It goes to DATASET_ROOT and is made from VIDEO_ROOT, or from the clips named by CLIPS. It appears when it is whole;
    after an interruption, the same command goes on.
    """
    terminate_on_announcements()
    program = preparation_program(source.load(os.environ).config, os.environ, workers=workers)
    with announcements_held_back(interrupts_too=True):
        replace_process(program.command, program.environment)


@click.command
@click.option("--container", type=click.Choice(["lmdb", "shards"]), help="Write the set once more in this form.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder for that.")
@settings_options
def pack(source: SettingsSource, container: str | None, out: Path | None) -> None:
    """Make a packed copy of a patch set's training pairs.

    It lies in DATASET_ROOT beside the PNG files, takes the room of their pixels, and saves decoding them in each epoch.
    Each set of DATA_SOURCES gets one as well.

    With --container and --out, the whole set in DATASET_ROOT is written to a new folder instead, as LMDB databases or
    as tar shards of WebDataset's kind. DATASET_ROOT can be such a folder.
    """
    if (container is None) != (out is None):
        raise click.UsageError("--container and --out belong together: give both, or neither.")
    terminate_on_announcements()
    config = source.load(os.environ).config
    if container:
        require_patches(config.dataset_root)
    else:
        require_sources(config)
    program = packing_program(config, os.environ, container or "", out)
    with announcements_held_back(interrupts_too=True):
        replace_process(program.command, program.environment)


@click.command
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path, readable=False))
@settings_options
def serve(source: SettingsSource, directories: tuple[Path, ...]) -> None:
    """Serve the API and dashboard alone.

    Each DIR is a run directory, or a folder that holds some; without any, DATA_ROOT and RUN_ROOTS say where runs are.
    Runs that come or go meanwhile are noticed.
    """
    if directories:
        source = SettingsSource(source.file, (*source.overrides, *overrides_for(directories)))
    config = source.load(os.environ).config
    require_safe_address(config)
    require_free_port(config.api_host, config.api_port)
    program = api_program(source, os.environ)
    if config.run_roots:
        click.echo(_runs_sentence(config))
    click.echo(f"Dashboard: {address_text(config.api_host, config.api_port)}")
    with announcements_held_back(interrupts_too=True):
        replace_process(program.command, program.environment)


def _runs_sentence(config: RunConfig) -> str:
    count = len(RunFolders.of(config).all())
    runs = "No run is there yet" if count == 0 else f"Serving {count} run{'s' if count > 1 else ''}"
    return f"{runs}{', and those of the shared store' if config.store_url else ''}."


@click.command
@ranks_options
@nodes_options
@click.option("--resume", is_flag=True, help="Continue the run in DATA_ROOT.")
@click.option("--fresh", is_flag=True, help="Archive the run in DATA_ROOT and begin a new one.")
@settings_options
@replay_option
def train(source: SettingsSource, ranks: str, restarts: int, nodes: Nodes | None, resume: bool, fresh: bool) -> None:
    """Train without an API.

    With --rdzv-endpoint, this is one of several machines, each of which is given the same command.

    The exit code is the trainer's: 0 done, 2 bad input, 74 ended without its last state on disk, 143 asked to leave and
    saved, 137 killed before it had saved.
    """
    terminate_on_announcements()
    require_single_task(os.environ)
    if resume and fresh:
        raise SettingError("--resume and --fresh exclude each other; give one.")
    config = source.load(os.environ).config
    require_sources(config)
    start = "--resume" if resume else "--fresh" if fresh else None
    count = count_ranks(ranks, config)
    program = trainer_program(source, config, count, os.environ, start, restarts, nodes=nodes)
    with announcements_held_back():
        replace_process(program.command, program.environment)


@click.command
@click.argument("given", metavar="IN", type=click.Path(path_type=Path, readable=False))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--run",
    type=click.Path(),
    metavar="DIR",
    help="Use the best state of this run; default: DATA_ROOT, or the shipped weights.",
)
@click.option(
    "--from", "file", type=click.Path(), metavar="FILE", help="Use a checkpoint, a file of weights, or 'shipped'."
)
@click.option("--quality", type=click.IntRange(0, 51), default=16, show_default=True, help="CRF: lower is better.")
@click.option("--rate", default="25", show_default=True, help="Pictures per second of a video made of pictures.")
@click.option("--tile", type=click.IntRange(0), default=0, help="Side of a tile in pixels of IN; 0 chooses it.")
@click.option("--replace", is_flag=True, help="Replace the file OUT.")
@click.option("--no-sound", is_flag=True, help="Leave out sound and subtitles.")
@click.option("--until-damage", is_flag=True, help="Of a damaged video, upscale what comes before the damage.")
@click.option("--map-hdr", is_flag=True, help="Map HDR (PQ, HLG) to SDR, which is refused otherwise.")
@settings_options
def upscale(source: SettingsSource, given: Path, target: Path, **wishes: str | int | bool | None) -> None:
    """Enlarge a video, a picture or a folder of pictures.

    OUT is a video (.mp4, .mov, .mkv, .webm), a picture, or without a suffix a folder of pictures. It appears when it is
    whole; after an interruption, the same command goes on.
    """
    terminate_on_announcements()
    wishes["from"] = wishes.pop("file")
    program = inference_program("upscale", source, (given, target), wishes, os.environ)
    with announcements_held_back(interrupts_too=True):
        replace_process(program.command, program.environment)


@click.command
@click.argument("sets", metavar="[[NAME=]SET]...", nargs=-1)
@click.option("--run", type=click.Path(), metavar="DIR", help="Measure the best state of this run; default: DATA_ROOT.")
@click.option("--from", "file", type=click.Path(), metavar="FILE", help="Measure a checkpoint or a file of weights.")
@click.option("--out", type=click.Path(), metavar="FILE", help="Write all scores, also of each frame, as JSON.")
@click.option("--tile", type=click.IntRange(0), default=0, help="Side of a tile in LR pixels; 0 chooses it.")
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Processes; 0: one for each core or GPU.")
@settings_options
def evaluate(source: SettingsSource, sets: tuple[str, ...], **wishes: str | int | None) -> None:
    """Measure a network on clips: PSNR, SSIM, flicker.

    SET is a folder of clips (the truth, from which LR is made), a video, or a patch set; without any, those of
    EVALUATION_SETS. VAL_BORDER pixels are left out on every side.
    """
    terminate_on_announcements()
    wishes["from"] = wishes.pop("file")
    program = inference_program("evaluate", source, sets, wishes, os.environ)
    with announcements_held_back(interrupts_too=True):
        replace_process(program.command, program.environment)


@click.command
@click.argument("target", metavar="[OUT]", required=False, type=click.Path(path_type=Path, readable=False))
@click.option("--run", type=click.Path(), metavar="DIR", help="Export the best state of this run; default: DATA_ROOT.")
@click.option("--from", "file", type=click.Path(), metavar="FILE", help="Export a checkpoint or a file of weights.")
@click.option("--replace", is_flag=True, help="Replace the file OUT.")
@click.option(
    "--ro-crate", "described", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Describe the run directory RUN as an RO-Crate instead.",
)  # fmt: skip
@click.option("--licence", default="", metavar="ID", help="With --ro-crate: SPDX name or address of the run's licence.")
@settings_options
def export(
    source: SettingsSource, target: Path | None, described: Path | None, licence: str, **wishes: str | bool | None
) -> None:
    """Write a network or a run for other programs.

    OUT is a file of weights (.safetensors) or a whole network (.onnx), checked to give the same pictures. With
    --ro-crate, the run's ro-crate-metadata.json is written: its files, its starts and commands.
    """
    if described is not None:
        _describe(source, target, described, licence)
        return
    if target is None:
        raise click.UsageError("Missing argument 'OUT'.")
    terminate_on_announcements()
    wishes["from"] = wishes.pop("file")
    program = inference_program("export", source, (target,), wishes, os.environ)
    with announcements_held_back(interrupts_too=True):
        replace_process(program.command, program.environment)


def _describe(source: SettingsSource, target: Path | None, described: Path, licence: str) -> None:
    from service.cli.stats.provenance.crate import write_crate  # reads records, which the other commands do not

    if target is not None:
        raise click.UsageError("--ro-crate writes into the run directory: leave OUT out.")
    write_crate(described, source.load(os.environ).config.store_url, licence)


@click.command
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.argument("folder", metavar="NEW_FOLDER", type=click.Path(path_type=Path, readable=False))
@click.option("--checkpoint", default="latest", metavar="NAME", help="latest, best, a step or a name.")
@settings_options
def fork(source: SettingsSource, run: Path, folder: Path, checkpoint: str) -> None:
    """Begin a new run at a checkpoint of another.

    RUN is a run directory, which stays as it is. NEW_FOLDER gets a copy of the checkpoint, and of the records and
    curves up to its step, under a new run id that names its parent.
    """
    from service.store.fork import fork_run  # imports SQLAlchemy, which the other commands do not need

    made = fork_run(RunDirectory(run), folder, checkpoint, source.load(os.environ).config.store_url)
    identity = made.identity
    click.echo(
        f"Run {identity.run_id} in {folder} is forked from run {identity.parent_run} at step {identity.parent_step}, "
        f"with {made.records} records and {made.log_points} log points."
    )
    options = " ".join([*_given_settings(RunDirectory(run)), option("DATA_ROOT", folder)])
    click.echo(f"Continue it with: leitstand train --resume {options}")


def _given_settings(directory: RunDirectory) -> list[str]:
    """Return the options that set what the run's last start was given; none if it is not known."""
    identity = directory.read_identity()
    try:
        return given_settings(read(directory, identity.provenance))[0] if identity and identity.provenance else []
    except (OSError, ValueError, RecursionError):
        return []

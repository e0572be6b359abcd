"""`leitstand up`: runs the trainer and the API as child processes."""

import os
import sys
from typing import NamedTuple

import click

from service.alerts.receivers import receiver_ids
from service.auth.hosts import require_safe_address
from service.cli.options import login_name, ranks_options, replay_option, settings_options
from service.cli.text_table import show_line
from service.config.settings import RunConfig
from service.config.source import SettingsSource
from service.launcher.machines.tasks import require_single_task
from service.launcher.ports import address_text, require_free_port
from service.launcher.programs import (
    Program,
    api_program,
    count_ranks,
    holds_patches,
    preparation_program,
    require_mixed_sources,
    trainer_program,
)
from service.launcher.supervisor import LaunchPlan, Supervisor
from service.launcher.terminal.status_line import has_room
from service.launcher.termination import terminate_on_announcements
from service.run.claim import require_untrained
from service.run.directory import RunDirectory, require_writable
from service.store.store import store_location


@click.command
@ranks_options
@click.option("--fresh", is_flag=True, help="Archive the run in DATA_ROOT and begin a new one; otherwise it goes on.")
@click.option("--plain", is_flag=True, help="Print a line at each log point rather than one living status line.")
@click.option("--leave", is_flag=True, help="End when the training has ended, at a terminal too.")
@settings_options
@replay_option
def up(source: SettingsSource, ranks: str, restarts: int, fresh: bool, plain: bool, leave: bool) -> int:
    """Train and serve on this machine.

    Makes the patch set first where DATASET_ROOT holds none. The keys v, p, c and q steer from this terminal; Ctrl-C
    ends everything in order.
    """
    terminate_on_announcements()
    require_single_task(os.environ)
    config = source.load(os.environ).config
    at_terminal = _AtTerminal(
        serve_on=sys.stdin.isatty() and not leave,
        has_status_line=not plain and all(has_room(stream, os.environ) for stream in (sys.stdout, sys.stderr)),
    )
    plan = _plan(source, config, ranks, restarts, at_terminal, fresh=fresh)
    return Supervisor(plan, show_line).run()


class _AtTerminal(NamedTuple):
    """What differs at a terminal."""

    serve_on: bool
    has_status_line: bool


def _plan(
    source: SettingsSource, config: RunConfig, ranks: str, restarts: int, at_terminal: _AtTerminal, *, fresh: bool
) -> LaunchPlan:
    """Check the settings and the machine before any process starts; raises `UserError`."""
    require_safe_address(config)
    require_mixed_sources(config)
    directory = RunDirectory(config.data_root)
    require_untrained(directory)
    require_free_port(config.api_host, config.api_port)
    require_writable(config.data_root)
    start = "--fresh" if fresh else "--resume"
    rank_count, prints_steps = count_ranks(ranks, config), not at_terminal.has_status_line
    return LaunchPlan(
        trainer=trainer_program(source, config, rank_count, os.environ, start, restarts, prints_steps=prints_steps),
        api=api_program(source, os.environ),
        preparation=_preparation(config),
        store=store_location(config),
        log=directory.log,
        url=address_text(config.api_host, config.api_port),
        actor=login_name(),
        serve_on=at_terminal.serve_on,
        has_status_line=at_terminal.has_status_line,
        run_id=directory.run_id if config.store_url else None,
        receivers=receiver_ids(config),
    )


def _preparation(config: RunConfig) -> Program | None:
    """Return the program that makes the patch set, or None if none is needed.

    With VIDEO_ROOT, it always runs; it ends quickly if there is a patch set, and says so if the videos differ.
    """
    if config.video_root:
        show_line(f"Patch set in DATASET_ROOT {config.dataset_root} from the videos in {config.video_root}:")
    elif not holds_patches(config.dataset_root):
        show_line(f"DATASET_ROOT {config.dataset_root} holds no patch set yet: making one from clips {config.clips!r}.")
    else:
        return None
    return preparation_program(config, os.environ, keep=True)

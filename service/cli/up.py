"""`leitstand up`: runs the trainer and the API as child processes."""

import os
import sys

import click

from service.auth.hosts import require_safe_address
from service.cli.options import login_name, ranks_options, settings_options
from service.config.settings import RunConfig
from service.launcher.ports import address_text, require_free_port
from service.launcher.programs import (
    Program,
    SettingsSource,
    api_program,
    count_ranks,
    holds_patches,
    preparation_program,
    trainer_program,
)
from service.launcher.supervisor import LaunchPlan, Supervisor
from service.run.directory import RunDirectory, require_writable
from service.store.store import store_location


@click.command
@ranks_options
@click.option("--fresh", is_flag=True, help="Archive the run in DATA_ROOT and begin a new one; otherwise it goes on.")
@click.option("--leave", is_flag=True, help="End when the training has ended, at a terminal too.")
@settings_options
def up(source: SettingsSource, ranks: str, restarts: int, fresh: bool, leave: bool) -> int:
    """Train and serve on this machine.

    Makes the patch set first where DATASET_ROOT holds none. The keys v, p, c and q steer from this terminal; Ctrl-C
    ends everything in order.
    """
    config = source.load(os.environ).config
    plan = _plan(source, config, ranks, restarts, fresh=fresh, serve_on=sys.stdin.isatty() and not leave)
    return Supervisor(plan, click.echo).run()


def _plan(
    source: SettingsSource, config: RunConfig, ranks: str, restarts: int, *, fresh: bool, serve_on: bool
) -> LaunchPlan:
    """Check the settings and the machine before any process starts; raises `UserError`."""
    require_safe_address(config)
    require_free_port(config.api_host, config.api_port)
    require_writable(config.data_root)
    directory = RunDirectory(config.data_root)
    start = "--fresh" if fresh else "--resume"
    return LaunchPlan(
        trainer=trainer_program(source, config, count_ranks(ranks, config), os.environ, start, restarts),
        api=api_program(source, os.environ),
        preparation=_preparation(config),
        store=store_location(config),
        log=directory.log,
        url=address_text(config.api_host, config.api_port),
        actor=login_name(),
        serve_on=serve_on,
        run_id=directory.run_id if config.store_url else None,
    )


def _preparation(config: RunConfig) -> Program | None:
    """Return the program that makes the patch set, or None if none is needed.

    With VIDEO_ROOT, it always runs; it ends quickly if the patch set was made from the same videos.
    """
    if config.video_root:
        click.echo(f"Patch set in DATASET_ROOT {config.dataset_root} from the videos in {config.video_root}:")
    elif not holds_patches(config.dataset_root):
        click.echo(
            f"DATASET_ROOT {config.dataset_root} holds no patch set yet: making one from clips {config.clips!r}."
        )
    else:
        return None
    return preparation_program(config, os.environ)

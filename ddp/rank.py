"""One rank of a training, from its arguments to its exit code; `python -m ddp` runs it."""

import argparse
import logging
import os
import sys
from logging.handlers import QueueListener
from pathlib import Path

from ddp.control.shutdown import EXIT_CODE, ShutdownRequest, exit_on_signals
from ddp.distributed.environment import RankEnvironment, rank_environment
from ddp.distributed.world import World, is_peer_loss
from ddp.recording.log_files import console_log
from ddp.recording.trackers.select import require_extras
from ddp.training.builder import Start, build_components, claimed_run_directory, open_workload, watchdog_running
from ddp.training.components import TrainerComponents, build_trainer
from service.config.loader import load_config
from service.errors import MemoryShortageError, UserError
from service.run.state import LEFT_BY_SIGNAL, RunState

logger = logging.getLogger(__name__)


def main() -> int:
    """Run this rank to its end; return the exit code."""
    environment = rank_environment()
    exit_on_signals()
    with console_log(environment) as listener:
        try:
            return run_rank(environment, parse_arguments(), listener)
        except UserError as error:
            if environment.is_main or isinstance(error, MemoryShortageError):
                sys.stderr.write(f"Error: {error}\n")
            return error.exit_code
        except Exception as error:  # outermost handler: logs every unexpected error with its traceback
            if is_peer_loss(error):
                logger.error("Rank %d ends, because another rank is gone.", environment.rank)  # noqa: TRY400 - all is said
            else:
                logger.exception("Rank %d failed.", environment.rank)
            return 1


def parse_arguments() -> Start:
    """Parse the command line and load the settings. Raises `UserError`."""
    parser = argparse.ArgumentParser(prog="torchrun -m ddp", description="Train one network on all ranks.")
    parser.add_argument("--config", type=Path, help="settings file (TOML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    parser.add_argument("--resume", action="store_true", help="continue the run in DATA_ROOT, if there is one")
    parser.add_argument("--fresh", action="store_true", help="archive the run in DATA_ROOT and start anew")
    parsed = parser.parse_args()
    if parsed.resume and parsed.fresh:
        raise UserError("--resume and --fresh contradict each other: give one of them.")
    return Start(load_config(parsed.config, parsed.set, os.environ), parsed.resume, parsed.fresh)


def run_rank(environment: RankEnvironment, start: Start, listener: QueueListener) -> int:
    """Join the other ranks, open the data, claim the run directory, and train; return the exit code."""
    config = start.loaded.config
    world = World.join(environment, config.device, config.threads_per_rank)
    try:
        require_extras(world, config)
        workload = open_workload(world, config)  # before anything is written, so that a wrong folder has no effect
        shutdown = ShutdownRequest()
        shutdown.install()
        with claimed_run_directory(world, start, listener) as run_id:
            note = world.restart_note()
            if note == LEFT_BY_SIGNAL:
                return EXIT_CODE  # the launcher took the end of all ranks by a signal for a failure
            components = build_components(world, start, run_id, shutdown, workload)
            # A restart after a failure does not end a pause; a new start by the user does.
            components.run_status.is_paused = note == RunState.PAUSED
            return train(components)
    finally:
        world.leave()


def train(components: TrainerComponents) -> int:
    """Train to the end and record how it ended; return the exit code."""
    run_status, recorder = components.run_status, components.recorder
    try:
        with watchdog_running(components):
            ending = build_trainer(components).run()
    except BaseException as error:
        components.checkpointer.close()  # the states being written are still valid
        close_after(error, components)
        raise
    finally:
        components.batch_stream.close()
    if run_status.is_leaving and components.world.is_main:
        components.world.leave_restart_note(LEFT_BY_SIGNAL)
    components.checkpointer.close()
    recorder.close(ending, LEFT_BY_SIGNAL if run_status.is_leaving else None)
    return EXIT_CODE if run_status.is_leaving else 0


def close_after(error: BaseException, components: TrainerComponents) -> None:
    """Record why the run failed, unless the launcher will restart all ranks."""
    world = components.world
    if isinstance(error, UserError):
        world.publish_failure(str(error))
        components.recorder.close(RunState.FAILED, str(error))
    elif is_peer_loss(error) and (reason := world.published_failure()):
        components.recorder.close(RunState.FAILED, reason)
    elif world.restarts_left > 0:
        components.recorder.close_for_restart()
    else:
        components.recorder.close(RunState.FAILED, f"{type(error).__name__}: {error}")

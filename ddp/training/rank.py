"""One rank of a training, from its arguments to its exit code; `python -m ddp` runs it."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from logging.handlers import QueueListener
from pathlib import Path
from typing import Any, NamedTuple

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.initial_weights import InitialWeights
from ddp.checkpoint.start_provenance import about_start, collect_provenance, write_provenance
from ddp.control.replay_start import open_replay
from ddp.control.shutdown import EXIT_CODE, ShutdownRequest
from ddp.distributed.environment import RankEnvironment, rank_environment
from ddp.distributed.world import CollectiveTimeoutError, World, is_peer_loss
from ddp.recording.log_files import FILE_LINE, add_log_file, console_log, hide_step_lines
from ddp.recording.trackers.select import require_extras
from ddp.step.temporary_folder import rank_temporary_folder
from ddp.training.builder import build_components, open_initial_weights, open_workload
from ddp.training.components import TrainerComponents, build_trainer, watchdog_running
from ddp.training.recovery.failure import close_after, repeated_failure
from ddp.training.recovery.network_kept import log_kept_network, with_network_of_weights
from ddp.training.recovery.survivor import survivor_states
from service.config.loader import LoadedConfig, load_config, naming_origins
from service.config.timeouts import RESTART_PATIENCE_SECONDS, check_launch_order
from service.errors import (
    LAST_STATE_UNSAVED,
    MemoryShortageError,
    RepeatedFailureError,
    RunDirectoryError,
    UserError,
    printable,
)
from service.run import active_time
from service.run.claim import claim
from service.run.directory import RunDirectory, unwritable
from service.run.identity import RunIdentity
from service.run.ledger.log_lines import spent_line
from service.run.lock import RunLock
from service.run.records.provenance.provenance import ProvenanceFile
from service.run.state import LEFT_BY_SIGNAL, RunState

UNSAVED_NOTE = "the last state is not on disk"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Configuration and options of the start command."""

    loaded: LoadedConfig
    resume: bool
    fresh: bool
    hides_step_lines: bool = False

    @property
    def directory(self) -> RunDirectory:
        """The run directory."""
        return RunDirectory(self.loaded.config.data_root)

    def continues_run(self, world: World) -> bool:
        """Return True if an existing run is continued: the launcher's restart always does that."""
        return self.resume or world.restarts > 0

    def initial_source(self, world: World) -> str:
        """Return what the first weights are read from; empty if they are random, or those of a checkpoint.

        A run that ended before its first checkpoint begins again with the weights with which it began. Only rank 0's
        answer counts.
        """
        config = self.loaded.config
        if not world.is_main or not self.continues_run(world):
            return config.init_from
        with suppress(OSError, RunDirectoryError):  # reported when the directory is claimed
            if CheckpointFolder(self.directory.checkpoints).steps():
                return ""
            identity = self.directory.read_identity()
            return config.init_from or (identity and identity.init_from) or ""
        return config.init_from


def main() -> int:
    """Run this rank to its end; return the exit code."""
    try:
        environment = rank_environment()
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    with console_log(environment) as listener, active_time.measuring(), rank_temporary_folder():
        try:
            start = parse_arguments()
            with naming_origins(lambda: start.loaded.places):
                return run_rank(environment, start, listener)
        except UserError as error:
            if environment.is_main or isinstance(error, MemoryShortageError | RepeatedFailureError):
                sys.stderr.write(f"Error: {printable(str(error))}\n")
            return error.exit_code
        except Exception as error:  # outermost handler: logs every unexpected error with its traceback
            if isinstance(error, CollectiveTimeoutError):
                logger.error("Rank %d ends: %s", environment.rank, error)  # noqa: TRY400 - all is said
            elif is_peer_loss(error):
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
    parser.add_argument("--no-step-lines", action="store_true", help="print no line at each log point")
    parsed = parser.parse_args()
    if parsed.resume and parsed.fresh:
        raise UserError("--resume and --fresh contradict each other: give one of them.")
    check_launch_order(os.environ)
    return Start(load_config(parsed.config, parsed.set, os.environ), parsed.resume, parsed.fresh, parsed.no_step_lines)


def run_rank(environment: RankEnvironment, start: Start, listener: QueueListener) -> int:
    """Join the other ranks, open the data, claim the run directory, and train; return the exit code."""
    config = start.loaded.config
    if start.hides_step_lines:
        hide_step_lines(listener)
    world = World.join(environment, config.device, config.threads_per_rank, config.collective_timeout_seconds)
    is_training = False
    try:
        require_extras(world, config)
        # Before anything is written, so that a wrong path has no effect.
        source, continues_run = start.initial_source(world), start.continues_run(world)
        loaded = with_network_of_weights(world, start.loaded, source, continues_run=continues_run)
        start, config = replace(start, loaded=loaded), loaded.config
        workload = open_workload(world, config)
        weights = open_initial_weights(world, source, workload)
        shutdown = ShutdownRequest()
        shutdown.install()
        about_run = about_start(world, workload)
        replay = open_replay(world, config, about_run, is_new=not continues_run)
        with claimed_run_directory(world, start, listener, weights, about_run) as claimed:
            note = world.restart_note()
            if note in {LEFT_BY_SIGNAL, UNSAVED_NOTE}:  # the launcher took this end of all ranks for a failure
                return EXIT_CODE if note == LEFT_BY_SIGNAL else LAST_STATE_UNSAVED
            if world.is_main:
                log_kept_network(start.loaded)
            states = survivor_states(environment, world, claimed.identity.run_id)
            components = build_components(
                world, start.loaded, claimed.identity, shutdown, workload, weights, claimed.lock, replay, states
            )
            if claimed.provenance is not None:
                write_provenance(start.directory, claimed.identity, claimed.provenance)
            if claimed.note is not None:
                components.recorder.event("identity lost", {"reason": claimed.note})
            # A restart after a failure does not end a pause; a new start by the user does.
            components.run_status.is_paused = note == RunState.PAUSED
            is_training = True
            return train(components)
    except Exception as error:
        if not is_training and (repeated := repeated_failure(error, world, "at its start")):
            raise repeated from error
        raise
    finally:
        world.leave()


class ClaimedRun(NamedTuple):
    """The run to train: its identity on every rank, the rest on rank 0 alone."""

    identity: RunIdentity
    lock: RunLock | None = None
    note: str | None = None
    provenance: ProvenanceFile | None = None
    """To be written once the start is not refused any more."""


@contextmanager
def claimed_run_directory(
    world: World, start: Start, listener: QueueListener, weights: InitialWeights | None, about_run: Mapping[str, Any]
) -> Iterator[ClaimedRun]:
    """Claim the run directory on rank 0; yield the run on every rank. All ranks raise the same `UserError`."""
    directory = start.directory
    claimed: ClaimedRun | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            claimed = _claim(world, start, weights, about_run)
        except UserError as error:
            problem = error
        except OSError as error:
            problem = unwritable(directory, error)
    world.raise_together(problem)
    if claimed is not None:
        add_log_file(listener, directory.log)
    if claimed is not None and claimed.note is not None:
        logger.warning("%s", claimed.note)
    try:
        identity = world.from_main(claimed.identity if claimed else RunIdentity(""))
        yield ClaimedRun(identity) if claimed is None else claimed
    finally:
        if claimed is not None and claimed.lock is not None:
            claimed.lock.close()


def _claim(world: World, start: Start, weights: InitialWeights | None, about_run: Mapping[str, Any]) -> ClaimedRun:
    """Claim the run directory, and note there what it begins with. Raises `UserError` or `OSError`."""
    is_restart, continues_run = world.restarts > 0, start.continues_run(world)
    claimed = claim(
        start.directory,
        resume=continues_run,
        fresh=start.fresh and not is_restart,
        timeout_seconds=RESTART_PATIENCE_SECONDS if is_restart else 0.0,
    )
    identity = claimed.identity
    if weights is not None:
        parent_run, parent_step = weights.parent_run, weights.parent_step
        identity = replace(identity, init_from=weights.source, parent_run=parent_run, parent_step=parent_step)
    elif not continues_run and identity.init_from is not None:  # noted by a start that did not come to train
        identity = replace(identity, init_from=None, parent_run=None, parent_step=None)
    if identity != claimed.identity:
        start.directory.write_identity(identity)
    file = collect_provenance(start.loaded, identity, about_run)
    return ClaimedRun(replace(identity, provenance=file.sha256), claimed.lock, claimed.note, file)


def train(components: TrainerComponents) -> int:
    """Train to the end and record how it ended; return the exit code."""
    try:
        return _train_and_record(components)
    finally:
        # Last, when all is saved and said: loader processes that hang are waited for, for some seconds.
        components.batch_stream.close()


def _train_and_record(components: TrainerComponents) -> int:
    run_status, recorder = components.run_status, components.recorder
    try:
        with watchdog_running(components):
            ending = build_trainer(components).run()
    except BaseException as error:
        components.survivor.leave_state(error)  # first, since the launcher does not wait for long
        components.checkpointer.close()  # the states being written are still valid
        where = f"after step {components.run_status.progress.step}"
        repeated = repeated_failure(error, components.world, where)
        close_after(repeated or error, components)
        if repeated is not None:
            raise repeated from error
        raise
    world, is_unsaved = components.world, run_status.unsaved is not None
    if world.tells_successors_of_end and (is_unsaved or run_status.is_leaving):
        world.leave_restart_note(UNSAVED_NOTE if is_unsaved else LEFT_BY_SIGNAL)
    components.checkpointer.close()
    logger.info("%s", spent_line(components.window.account.read(run_status.progress.step)), extra=FILE_LINE)
    recorder.close(ending, run_status.unsaved or (LEFT_BY_SIGNAL if run_status.is_leaving else None))
    with suppress(RuntimeError):  # all is saved, whatever has become of the others
        world.from_main(None)  # the launcher ends rank 0 once another rank has ended with a code other than 0
    if is_unsaved:
        return LAST_STATE_UNSAVED
    return EXIT_CODE if run_status.is_leaving else 0

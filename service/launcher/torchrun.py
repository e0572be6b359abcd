"""Runs torchrun with meaningful exit codes and without a traceback at its end.

    python -m service.launcher.torchrun <torchrun's own arguments>

torchrun exits with 1 and prints a traceback whenever a rank fails or a signal ends it. Here the exit code is 128 + the
signal's number, or that of the failed rank, for example 2 for bad input. With --max-restarts, ranks are not restarted
after the exit codes of `FINAL_EXIT_CODES`, because a restart would end in the same way. Which rank failed, how, and
what follows is said on stderr.

The first signal that asks to leave goes to all ranks. Later ones would end torchrun before its ranks have saved, so
they are ignored; only a repeated SIGINT kills the ranks. This module does not import torch; torch's modules are run by
name.
"""

import importlib
import json
import logging
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from subprocess import Popen
from types import FrameType
from typing import Any

from service.errors import LAST_STATE_UNSAVED
from service.launcher.imports import without_collection
from service.launcher.machines import nodes
from service.launcher.machines.silence import limit_silence
from service.launcher.parent_death import LAUNCHER_PID
from service.launcher.ranks.forked_rank import ForkServer, can_fork
from service.launcher.ranks.shared_states import INCIDENT, LAUNCH, launch_id, remove_of_launch
from service.launcher.termination import (
    ANNOUNCEMENTS,
    DUPLICATE_SECONDS,
    KILLED,
    RepeatedInterrupt,
    how_it_ended,
    terminate_on_announcements,
)
from service.run.directory import RunDirectory
from service.run.lock import launch_mark

LAUNCHER = "torch.distributed.run"
AGENT = "torch.distributed.elastic.agent.server.local_elastic_agent"
PROCESSES = "torch.distributed.elastic.multiprocessing.api"
HANDLER = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
FORK_SERVER = "TORCHRUN_FORK_SERVER"
"""Variable by which `leitstand` asks for ranks that are forks of a process which has imported all that they need."""
RUN_DIRECTORY = "TORCHRUN_RUN_DIRECTORY"
"""Variable by which `leitstand` names DATA_ROOT, so that a failure can be told with the checkpoint to continue from."""
LEFT, FORCED = 143, 130
FINAL_EXIT_CODES = (LAST_STATE_UNSAVED, 2, LEFT, FORCED)
"""Exit codes of a rank after which it is not restarted, of several ranks' codes the first of these counts: the last
state is not on disk, bad input, saved after a signal, ended by a repeated SIGINT."""

SignalHandler = Callable[[int, FrameType | None], None]


class EndOfRanks:
    """The end of the ranks after a signal to the launcher: one request to leave, and how each rank answered it."""

    def __init__(self) -> None:
        self._requested_at: float | None = None
        self._ranks: dict[int, Popen[Any]] | None = None
        self._interrupt = RepeatedInterrupt()

    def handler(self, begin: SignalHandler) -> SignalHandler:
        """Return a signal handler that calls torchrun's own, `begin`, for the first signal.

        It is called again only if torchrun has dropped that signal.
        """

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._interrupt.is_repeated_by(number):
                self._kill_ranks()
            now = time.monotonic()
            if self._requested_at is None or (self._ranks is None and now - self._requested_at > DUPLICATE_SECONDS):
                self._requested_at = now
                begin(signal.SIGTERM if number in ANNOUNCEMENTS else number, frame)

        return on_signal

    def watch(self, ranks: dict[int, Popen[Any]]) -> None:
        """Take note of processes that torchrun ends now, by their local ranks; without a signal, this does nothing."""
        if self._requested_at is not None:
            self._ranks = ranks

    def _kill_ranks(self) -> None:
        for process in (self._ranks or {}).values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # each leads its own group, with its loaders

    def exit_code(self, number: int) -> int:
        """Return 128 + `number` if every rank left as signal `number` asked it to, else the code of one that did not.

        A rank that was killed before it had saved is named on stderr.
        """
        in_order = {0, LEFT, -number, -signal.SIGTERM}  # negative: the rank had not begun, so nothing was to be saved
        if any(process.poll() == LAST_STATE_UNSAVED for process in (self._ranks or {}).values()):
            return LAST_STATE_UNSAVED
        for rank, process in (self._ranks or {}).items():
            code = process.poll()
            if code is None or (code < 0 and code not in in_order):
                sys.stderr.write(f"Error: rank {rank} was killed before it had saved; --resume continues the run.\n")
                return KILLED
            if code not in in_order:
                return code
        return 128 + number


class RankFailures:
    """What is said of ranks that failed: which, how, and whether and from where all ranks go on."""

    def __init__(self, run_directory: str | None) -> None:
        """Look for checkpoints in `run_directory`, if it is known."""
        self._run_directory = run_directory
        self._allowed = 0

    def prevent_final_restarts(self, agent: Any) -> None:
        """Patch torchrun's agent: it restarts no ranks after one of `FINAL_EXIT_CODES`, and other restarts are said."""
        monitor_workers = agent._monitor_workers

        def monitor_and_check(self_: Any, *arguments: Any, **named: Any) -> Any:
            result = monitor_workers(self_, *arguments, **named)
            if result.failures:
                group = self_._worker_group
                self._allowed = group.spec.max_restarts
                has_others = len(group.workers) > 1
                self_._remaining_restarts = self._check(result.failures, self_._remaining_restarts, has_others)
            return result

        agent._monitor_workers = monitor_and_check

    def _check(self, failures: dict[int, Any], remaining: int, has_others: bool) -> int:
        """Return how many restarts are left; says on stderr that all ranks are restarted, if they are.

        Other ranks than those that failed may leave their last step to the next start.
        """
        if any(failure.exitcode in FINAL_EXIT_CODES for failure in failures.values()):
            return 0
        if remaining > 0:
            rank, failure = _cause(failures)
            _tell_ranks(rank, failure)
            count = f"restart {self._allowed - remaining + 1} of {self._allowed}"
            origin = f"after their last step, or else {self._origin()}" if has_others else self._origin()
            what = f"{_failure_text(rank, failure)}; all ranks start again {origin} ({count})"
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} R{what[1:]}.\n")
        return remaining

    def exit_code(self, error: Any) -> int:
        """Return the exit code of the rank that ended with one of `FINAL_EXIT_CODES`, or else of the one that failed.

        Only the former has said itself what there is to say.
        """
        rank, failure = _cause(error.failures)
        code = int(failure.exitcode)
        if code not in FINAL_EXIT_CODES:
            allowed = self._allowed
            why = f"restart {allowed} of {allowed} is used up" if allowed else "no restart is allowed (--restarts)"
            sys.stderr.write(
                f"Error: {_failure_text(rank, failure)}, and {why}: --resume continues the run {self._origin()}.\n"
            )
        return 128 - code if code < 0 else code

    def _origin(self) -> str:
        """Return from where the run goes on."""
        if self._run_directory is None:
            return "from its last checkpoint"
        try:
            return f"from checkpoint {os.readlink(RunDirectory(Path(self._run_directory)).checkpoints / 'latest')}"
        except OSError:
            if nodes.ENDPOINT in os.environ:
                return "from the last checkpoint on the machine of rank 0"
            return "from step 0, for want of a checkpoint"


def _cause(failures: dict[int, Any]) -> tuple[int, Any]:
    """Return the rank and the failure that explains all: others fail as soon as they miss a rank, some with an abort.

    torchrun often finds several failed ranks at the same time.
    """

    def key(item: tuple[int, Any]) -> tuple[int, bool, float]:
        code = item[1].exitcode
        final = FINAL_EXIT_CODES.index(code) if code in FINAL_EXIT_CODES else len(FINAL_EXIT_CODES)
        return final, code >= 0 or code in (-signal.SIGABRT, -signal.SIGTERM), item[1].timestamp

    return min(failures.items(), key=key)


def _tell_ranks(rank: int, failure: Any) -> None:
    """Tell the ranks that are started next why they are: they have this process's environment."""
    how = how_it_ended(int(failure.exitcode))
    incident = {"rank": rank, "pid": failure.pid, "how": how, "detected_at": time.time()}
    os.environ[INCIDENT] = json.dumps(incident)


def _failure_text(rank: int, failure: Any) -> str:
    code = int(failure.exitcode)
    hint = " (by hand, or by the kernel where memory runs out: see dmesg)" if code == -signal.SIGKILL else ""
    return f"rank {rank} (process {failure.pid}) {how_it_ended(code)}{hint}"


def main() -> int:
    """Run torchrun with this process's arguments; returns the exit code."""
    terminate_on_announcements()
    os.environ[LAUNCHER_PID] = str(os.getpid())
    os.environ[LAUNCH] = launch = launch_id(os.getpid())
    # The failure is reported below instead; some of torchrun's loggers use the level, others the variable.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("LOGLEVEL", "CRITICAL")
    run_directory = os.environ.get(RUN_DIRECTORY)
    ending, failures = EndOfRanks(), RankFailures(run_directory)
    # First, since it imports while this process does.
    server = ForkServer() if os.environ.get(FORK_SERVER) and can_fork() else None
    try:
        with nullcontext() if run_directory is None else launch_mark(Path(run_directory)):
            _patch_agent(ending, failures)
            if server is not None:
                _fork_ranks(server)
            runpy.run_module(LAUNCHER, run_name="__main__", alter_sys=True)
    except Exception as error:
        if type(error).__name__ == "SignalException":
            return ending.exit_code(int(vars(error)["sigval"]))
        if type(error).__name__ == "ChildFailedError":
            return failures.exit_code(error)
        if type(error).__name__ in nodes.MEETING_FAILURES and nodes.ENDPOINT in os.environ:
            return nodes.say_why_not_met(error)
        raise
    finally:
        if server is not None:
            server.close()
        remove_of_launch(launch)
    return 0


def _patch_agent(ending: EndOfRanks, failures: RankFailures) -> None:
    """Patch torchrun: its restarts, its reaction to signals, and the end of its ranks.

    It has no public hooks for this; if its private names change, it restarts ranks and ends them as usual.
    """
    with without_collection():  # imports torch, and with it almost everything that torchrun needs
        agent = importlib.import_module(AGENT).LocalElasticAgent
    processes: Any = importlib.import_module(PROCESSES)
    failures.prevent_final_restarts(agent)
    processes._terminate_process_handler = ending.handler(processes._terminate_process_handler)
    shutdown = agent._shutdown

    def watched_shutdown(self: Any, *arguments: Any, **named: Any) -> Any:
        handlers = getattr(self._pcontext, "subprocess_handlers", {})
        ending.watch({rank: handler.proc for rank, handler in handlers.items()})
        return shutdown(self, *arguments, **named)

    agent._shutdown = watched_shutdown
    rendezvous = agent._rendezvous

    def impatient_rendezvous(self: Any, *arguments: Any, **named: Any) -> Any:
        limit_silence()
        result = rendezvous(self, *arguments, **named)
        limit_silence()  # it may have connected anew
        return result

    agent._rendezvous = impatient_rendezvous


def _fork_ranks(server: ForkServer) -> None:
    """Patch torchrun: it lets the server fork its ranks, and starts a new process where that is not possible."""
    handler = importlib.import_module(HANDLER).SubprocessHandler
    start_process = handler._popen

    def start(self: Any, args: tuple[str, ...], environment: dict[str, str]) -> Any:
        out, err = (
            number if file is None else file.fileno() for number, file in ((1, self._stdout), (2, self._stderr))
        )
        forked = server.start(f"rank {self.local_rank_id}", args, environment, (0, out, err))
        return start_process(self, args, environment) if forked is None else forked

    handler._popen = start


if __name__ == "__main__":
    sys.exit(main())

"""Runs torchrun with meaningful exit codes and without a traceback at its end.

    python -m service.launcher.torchrun <torchrun's own arguments>

torchrun exits with 1 and prints a traceback whenever a rank fails or a signal ends it. Here the exit code is 128 + the
signal's number, or that of the failed rank, for example 2 for bad input. With --max-restarts, ranks are not restarted
after the exit codes 2 (bad input) and 143 (terminated by a signal), because a restart would end in the same way. This
module does not import torch; torch's modules are run by name.
"""

import importlib
import logging
import os
import runpy
import signal
import sys
from typing import Any

from service.launcher.imports import without_collection

LAUNCHER = "torch.distributed.run"
AGENT = "torch.distributed.elastic.agent.server.local_elastic_agent"
FINAL_EXIT_CODES = frozenset({2, 143})
"""Exit codes of a rank after which it is not restarted."""


def main() -> int:
    """Run torchrun with this process's arguments; returns the exit code."""
    # The failure is reported below instead; some of torchrun's loggers use the level, others the variable.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("LOGLEVEL", "CRITICAL")
    try:
        _prevent_final_restarts()
        runpy.run_module(LAUNCHER, run_name="__main__", alter_sys=True)
    except Exception as error:
        if type(error).__name__ == "SignalException":
            return 128 + int(vars(error)["sigval"])
        if type(error).__name__ == "ChildFailedError":
            return _rank_failure(error)
        raise
    return 0


def _prevent_final_restarts() -> None:
    """Patch torchrun's agent so that it does not restart ranks after one of `FINAL_EXIT_CODES`.

    The agent has no public hook for this; if its private names change, it restarts ranks as usual.
    """
    with without_collection():  # imports torch, and with it almost everything that torchrun needs
        agent = importlib.import_module(AGENT).LocalElasticAgent
    monitor_workers = agent._monitor_workers

    def monitor_and_check(self: Any, *arguments: Any, **named: Any) -> Any:
        result = monitor_workers(self, *arguments, **named)
        if any(failure.exitcode in FINAL_EXIT_CODES for failure in result.failures.values()):
            self._remaining_restarts = 0
        return result

    agent._monitor_workers = monitor_and_check


def _rank_failure(error: Any) -> int:
    """Return the exit code of a rank that ended with one of `FINAL_EXIT_CODES`, or else of the rank that failed first.

    The other ranks fail as soon as they miss one, and torchrun often finds several failed ranks at the same time. If a
    signal killed the rank, rank and signal are named on stderr.
    """
    final_failures = [item for item in error.failures.items() if item[1].exitcode in FINAL_EXIT_CODES]
    rank, failure = (*final_failures, error.get_first_failure())[0]
    code = int(failure.exitcode)
    if code < 0:
        sys.stderr.write(f"Error: rank {rank} was ended by {signal.Signals(-code).name}.\n")
        return 128 - code
    return code


if __name__ == "__main__":
    sys.exit(main())

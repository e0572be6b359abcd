"""Runs torchrun, so that its exit code says what happened and its end is quiet.

    python -m service.launcher.torchrun <torchrun's own arguments>

torchrun itself exits with 1 and prints a traceback whenever a rank fails or a signal ends it. Here a signal gives
128 + its number, and a failed rank gives that rank's own exit code: 2 after a sentence for the user. With
--max-restarts it restarts ranks after accidents, not after an answer: bad input (2) and a rank that was asked to leave
(143) would end the same way again. It imports nothing of torch by itself: torch's modules are run by name.
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
ANSWERS = frozenset({2, 143})
"""Exit codes of a rank that no restart changes."""


def main() -> int:
    """Run the launcher with this process's arguments; returns the exit code that it should have had."""
    # What the launcher would say of an end is said below; some of its loggers listen to the one, some to the other.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("LOGLEVEL", "CRITICAL")
    try:
        _restart_only_after_accidents()
        runpy.run_module(LAUNCHER, run_name="__main__", alter_sys=True)
    except Exception as error:
        if type(error).__name__ == "SignalException":
            return 128 + int(vars(error)["sigval"])
        if type(error).__name__ == "ChildFailedError":
            return _rank_failure(error)
        raise
    return 0


def _restart_only_after_accidents() -> None:
    """Take the restarts away from torchrun's agent once a rank has ended with an answer.

    The agent has no public place for this; where its private parts are named otherwise, it restarts as it always did.
    """
    with without_collection():  # this imports torch, and with it nearly all that torchrun needs
        agent = importlib.import_module(AGENT).LocalElasticAgent
    look = agent._monitor_workers

    def look_and_judge(self: Any, *arguments: Any, **named: Any) -> Any:
        result = look(self, *arguments, **named)
        if any(failure.exitcode in ANSWERS for failure in result.failures.values()):
            self._remaining_restarts = 0
        return result

    agent._monitor_workers = look_and_judge


def _rank_failure(error: Any) -> int:
    """The exit code of the rank that ended with an answer, or else of the one that failed first.

    The others fail as soon as they miss one; torchrun often finds all of them ended at the same look. Names the rank on
    stderr unless it explained itself.
    """
    answers = [item for item in error.failures.items() if item[1].exitcode in ANSWERS]
    rank, failure = (*answers, error.get_first_failure())[0]
    code = int(failure.exitcode)
    if code < 0:
        sys.stderr.write(f"Error: rank {rank} was ended by {signal.Signals(-code).name}.\n")
        return 128 - code
    return code


if __name__ == "__main__":
    sys.exit(main())

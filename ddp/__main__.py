"""One rank of a training.

    torchrun --nproc-per-node=N -m ddp --config run.toml [--set KEY=VALUE …] [--resume | --fresh]

Exit codes: 0 finished, or stopped by a command; 2 an error that the user can correct; 74 ended, but the last state is
not on disk; 143 stopped by a signal, ready to resume; 130 ended at once by a second Ctrl-C; 1 anything else.
"""

import sys

from ddp.control.shutdown import exit_on_signals
from service.launcher.imports import without_collection


def main() -> int:
    """Import the trainer and run this rank to its end; return the exit code."""
    exit_on_signals()  # before the imports, which take seconds
    with without_collection():
        from ddp.training import rank
    return rank.main()


if __name__ == "__main__":
    sys.exit(main())

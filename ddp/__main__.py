"""One rank of a training.

    torchrun --nproc-per-node=N -m ddp --config run.toml [--set KEY=VALUE …] [--resume | --fresh]

Exit codes: 0 finished, or stopped by a command; 2 an error that the user can correct; 143 stopped by a signal,
ready to resume; 1 anything else.
"""

import sys

from service.launcher.imports import without_collection


def main() -> int:
    """Import the trainer and run this rank to its end; return the exit code."""
    with without_collection():
        from ddp import rank
    return rank.main()


if __name__ == "__main__":
    sys.exit(main())

"""Every benchmark of the trainer, one after the other: `python -m bench`. They want the machine to themselves.

Not among them: `bench/peers.py`, which needs an environment of its own, and `bench/startup.py`, which needs another
checkout.
"""

import subprocess
import sys

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
BENCHMARKS = (
    (*TORCHRUN, "bench.overhead", "--pairs", "200"),
    (*TORCHRUN, "bench.overhead", "--pairs", "200", "--log-every", "10"),
    (*TORCHRUN, "bench.overhead", "--pairs", "100", "--ema"),
    (*TORCHRUN, "bench.overhead", "--model", "demo", "--pairs", "20"),
    (*TORCHRUN, "bench.stall", "--model", "demo", "--steps", "12"),
    (*TORCHRUN, "bench.stall", "--model", "large"),
    ("bench.starts",),
    ("bench.room",),
    ("bench.kills",),
)


def main() -> int:
    """Run all; returns the number of those that failed."""
    codes = [subprocess.run([sys.executable, "-m", *arguments], check=False).returncode for arguments in BENCHMARKS]
    return sum(code != 0 for code in codes)


if __name__ == "__main__":
    sys.exit(main())

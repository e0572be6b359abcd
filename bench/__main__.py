"""Every benchmark of the trainer, one after the other: `python -m bench`. They want the machine to themselves.

Not among them: what needs an environment of its own (`bench/steps/peers.py`), another checkout
(`bench/starts/startup.py`), an hour (`bench/soak`) or no training (`bench/reading`, `bench/pictures`).
"""

import subprocess
import sys

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
BENCHMARKS = (
    (*TORCHRUN, "bench.steps.overhead", "--pairs", "200"),
    (*TORCHRUN, "bench.steps.overhead", "--pairs", "200", "--log-every", "10"),
    (*TORCHRUN, "bench.steps.overhead", "--pairs", "100", "--ema"),
    (*TORCHRUN, "bench.steps.overhead", "--model", "demo", "--pairs", "20"),
    ("bench.steps.stall",),
    ("bench.starts.resume",),
    ("bench.starts.room",),
    ("bench.kills.campaign",),
    ("bench.kills.hangs", "--minutes", "1"),
    ("bench.kills.faults", "--hours", "0.25"),
)


def main() -> int:
    """Run all; returns the number of those that failed."""
    codes = [subprocess.run([sys.executable, "-m", *arguments], check=False).returncode for arguments in BENCHMARKS]
    return sum(code != 0 for code in codes)


if __name__ == "__main__":
    sys.exit(main())

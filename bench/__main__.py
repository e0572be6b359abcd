"""Every benchmark, one after the other: `make bench`. They want the machine to themselves."""

import subprocess
import sys

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
BENCHMARKS = (
    (*TORCHRUN, "bench/overhead.py", "--model", "tiny", "--pairs", "60", "--log-every", "10"),
    (*TORCHRUN, "bench/overhead.py", "--model", "tiny", "--pairs", "60", "--log-every", "100"),
    (*TORCHRUN, "bench/overhead.py", "--model", "demo", "--pairs", "12"),
    ("bench/room.py",),
)


def main() -> int:
    """Run all; returns the number of those that failed."""
    return sum(subprocess.run([sys.executable, *arguments], check=False).returncode != 0 for arguments in BENCHMARKS)


if __name__ == "__main__":
    sys.exit(main())

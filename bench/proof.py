"""What Leitstand costs, beside bare DDP, Lightning, Accelerate and the original's loop, in one command.

    python -m bench.proof [--peers DIR] [--only peers original scaling starts memory]

Makes an environment with the pinned peers in a temporary folder (DIR keeps it for the next time), which borrows torch
and all else from the one that runs this, and runs, one after the other:

peers      added to a step on two gloo ranks: pairs of blocks in the same processes, medians and their intervals  3 min
original   the same on one rank, beside the loop that Leitstand follows                                           1 min
starts     from torchrun to the first step                                                                        2 min
scaling    exchanges and steps on 1, 2, 4 and 8 ranks, their fit, and a simulation of up to 4,096                 4 min
memory     rank 0's memory over 10^6 log points, which needs no quiet machine                                    20 min
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
PEERS = ("lightning==2.6.6", "accelerate==1.15.0")
TWO_RANKS = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
PARTS = {
    "peers": (*TWO_RANKS, "bench.steps.peers", "--rounds", "3", "--pairs", "12"),
    "original": ("bench.steps.peers", "--rounds", "3", "--pairs", "12", "--only", "bare", "leitstand", "original"),
    "starts": ("bench.starts.peers", "--rounds", "5"),
    "scaling": ("bench.scaling.ranks",),
    "memory": ("bench.steps.memory",),
}


def open_environment(folder: Path) -> Path:
    """The Python of an environment with the peers, made if there is none in the folder."""
    python = folder / "bin" / "python"
    if not python.exists():
        sys.stderr.write(f"making an environment with {' and '.join(PEERS)} in {folder}\n")
        venv.create(folder, with_pip=True)
        asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        own = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        install = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([*install, "-c", str(HERE / "requirements.lock"), *PEERS], check=True)
    return python


def main() -> int:
    """Run all parts; returns the number of those that failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, metavar="DIR", help="the environment, kept or made here")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    given = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    with tempfile.TemporaryDirectory(prefix="leitstand-peers-") as folder:
        python = open_environment((given.peers or Path(folder)).resolve())
        failed = 0
        for name in given.only:
            sys.stdout.write(f"\n## {name}\n\n")
            sys.stdout.flush()
            done = subprocess.run([str(python), "-m", *PARTS[name]], env=environment, cwd=HERE, check=False)
            failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())

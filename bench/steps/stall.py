"""What a checkpoint costs the training thread. Two working trees, in turn.

    python -m bench.steps.stall [--models demo large huge] [--saves 30] [--turns 3] [--ranks 2] [--before TREE]

Checkpoints of networks of 0.28, 12 and 48 million parameters: how long the training thread is held at the boundary, how
long the saving step (that and the step after it) takes against an ordinary one, and later steps while the state is
being written. TREE is a working tree of another commit, measured in turn with this one.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.kills.campaign import say
from bench.steps.blocks import load_text

RANKS_PROGRAM = Path(__file__).with_name("saving_ranks.py")
THIS_TREE = Path(__file__).parents[2]
STEPS = {"demo": 6, "large": 5, "huge": 4}
"""Steps before each checkpoint, and as many after the saving step."""
Seconds = dict[str, list[float]]
KINDS = ("held", "held_cpu", "saving", "ordinary", "meanwhile", "written")


def measured(tree: Path, model: str, saves: int, ranks: int) -> Seconds:
    """Start ranks with the code of this tree; return what rank 0 has timed."""
    with tempfile.TemporaryDirectory(prefix="stall-") as folder:
        out = Path(folder) / "seconds.json"
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", str(RANKS_PROGRAM)]
        options = ["--model", model, "--saves", str(saves), "--steps", str(STEPS[model]), "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
        subprocess.run([sys.executable, "-m", *launcher, *options], check=True, env=environment, cwd=tree)
        found: Seconds = json.loads(out.read_text())
        return found


def p99(values: list[float]) -> float:
    """The 99th percentile, by the nearest rank: of fewer than a hundred values the largest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def spread(seconds: list[float]) -> str:
    """Median, 99th percentile and largest in milliseconds."""
    if not seconds:
        return "none"
    values = statistics.median(seconds), p99(seconds), max(seconds)
    return " / ".join(f"{value * 1000:.1f}" for value in values) + " ms"


def described(seconds: Seconds) -> str:
    """The figures as lines of text, median / 99th percentile / largest."""
    ordinary = statistics.median(seconds["ordinary"])
    saving, worst = statistics.median(seconds["saving"]) / ordinary, p99(seconds["saving"]) / ordinary
    meanwhile = statistics.median(seconds["meanwhile"]) / ordinary if seconds["meanwhile"] else math.nan
    return (
        f"  held         {spread(seconds['held'])}; on a processor {spread(seconds['held_cpu'])}\n"
        f"  step         {spread(seconds['ordinary'])}, {len(seconds['ordinary'])} ordinary ones: "
        f"p99 {p99(seconds['ordinary']) / ordinary:.2f} times their median\n"
        f"  saving step  {spread(seconds['saving'])}: {saving:.2f} and at p99 {worst:.2f} times the median step\n"
        f"  meanwhile    {spread(seconds['meanwhile'])}, {len(seconds['meanwhile'])} steps, {meanwhile:.2f} times\n"
        f"  written      {spread(seconds['written'])} after it began"
    )


def compare(model: str, trees: dict[str, Path], saves: int, turns: int, ranks: int) -> None:
    """Measure one network with each tree in turn, and print what was found."""
    found: dict[str, Seconds] = {name: {kind: [] for kind in KINDS} for name in trees}
    parameters = 0.0
    for _ in range(turns):
        for name, tree in trees.items():
            seconds = measured(tree.resolve(), model, -(-saves // turns), ranks)
            parameters = float(seconds.pop("parameters"))  # type: ignore[arg-type]  # the one number beside the lists
            for kind in KINDS:
                found[name][kind] += seconds[kind]
    say(f"{model}: {parameters / 1e6:.2f} M parameters, {ranks} ranks; {load_text()}; median / p99 / largest")
    for name, seconds in found.items():
        say(f" {name}, {len(seconds['held'])} checkpoints\n{described(seconds)}")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--saves", type=int, default=30, help="checkpoints of each tree and network")
    parser.add_argument("--turns", type=int, default=3, help="starts of each tree, in turn")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--before", type=Path)
    given = parser.parse_args()
    trees = {"before": given.before, "now": THIS_TREE} if given.before else {"now": THIS_TREE}
    for model in given.models:
        compare(model, trees, given.saves, given.turns, given.ranks)


if __name__ == "__main__":
    main()

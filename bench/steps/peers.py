"""What other loops add to a step, beside Leitstand, against the same loop bare.

    torchrun --standalone --nproc-per-node=2 -m bench.steps.peers [--model tiny|demo] [--rounds N] [--pairs N]
        [--log-every N] [--only NAME …]

`python -m bench.proof` makes the environment that this needs, and runs it. Every entry trains a copy of the same
network on the same batches in the same processes; blocks of 20 of its steps alternate with blocks of the bare loop. The
order of the entries rotates from round to round. Every entry clips and brings the mean loss terms of all ranks to the
host, where rank 0 writes them: Leitstand into its store, the others into a CSV file by their own loggers. Lightning and
Accelerate do so every N steps (`lightning`, `accelerate`), or in each step, as their documentation does
(`lightning/each`, `accelerate/each`); Leitstand exchanges and examines each step's values, and writes every N steps.
`original`, the loop that Leitstand follows, knows one rank only, and so is measured on one.
"""

import argparse
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from bench.steps.blocks import BLOCK_STEPS, Pair, describe, load_text
from bench.steps.intervals import Interval, excess_interval, median_interval, ratio_text, verdict
from bench.steps.loops import NEVER, Bare, Bench, trainer_at_work
from bench.steps.original import Original
from bench.steps.synthetic import SIZES
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from service.config.settings import RunConfig

Found = dict[str, list[Pair]]


def bare_twin(bench: Bench, pairs: int) -> list[Pair]:
    """The noise."""
    return bench.pairs(pairs, Bare(bench.world, bench.config, bench.workload).advance)


def leitstand(bench: Bench, pairs: int) -> list[Pair]:
    """Leitstand's loop, everything on."""
    with trainer_at_work(bench.world, bench.config, bench.workload) as trainer:
        return bench.pairs(pairs, trainer.advance)


def original(bench: Bench, pairs: int) -> list[Pair]:
    """The loop that Leitstand follows, on one rank."""
    if bench.world.size > 1:
        raise SystemExit("The original's loop knows one process only: start without torchrun.")
    return bench.pairs(pairs, Original(bench.world.device, bench.config).advance)


def from_module(module: str, function: str) -> Callable[[Bench, int], list[Pair]]:
    """An entry of a library that is imported only if it is asked for."""
    return lambda bench, pairs: getattr(import_module(f"bench.steps.{module}"), function)(bench, pairs)


ENTRIES: dict[str, Callable[[Bench, int], list[Pair]]] = {
    "bare": bare_twin,
    "leitstand": leitstand,
    "accelerate": from_module("accelerate_loop", "accelerate_rare"),
    "accelerate/each": from_module("accelerate_loop", "accelerate_each"),
    "lightning": from_module("lightning_loop", "lightning_rare"),
    "lightning/each": from_module("lightning_loop", "lightning_each"),
    "original": original,
}
AIMS = {
    "accelerate": 0.5, "accelerate/each": 0.5, "lightning": 0.1, "lightning/each": 0.1,
}  # fmt: skip
"""The most that Leitstand may add to a bare step, as a share of what each peer adds."""


def compare(bench: Bench, names: list[str], rounds: int, pairs: int) -> Found:
    """Pairs of all entries; each round begins with the next one, in a run directory of its own."""
    found: Found = {name: [] for name in names}
    root = bench.config.data_root
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            bench.config = replace(bench.config, data_root=root / f"{number}-{name.replace('/', '-')}")
            bench.config.data_root.mkdir(parents=True, exist_ok=True)
            found[name] += ENTRIES[name](bench, pairs)
    return found


def added(pairs: list[Pair], clock: str) -> list[float]:
    """What an entry adds to a bare step, ms, of each pair."""
    return [1000 * (getattr(pair.other, clock) - getattr(pair.bare, clock)) for pair in pairs]


def judge(found: Found) -> str:
    """The intervals of all medians, and whether the aims are met, by the clock and by the thread's processor time."""
    lines = []
    for clock, what in (("wall", "by the clock"), ("thread", "processor time of the training thread")):
        lines.append(f"{what}: added to a bare step, ms: median (its 95 % interval)")
        ours = added(found["leitstand"], clock)
        for name, pairs in found.items():
            text = f"  {name:16} {median_interval(added(pairs, clock)).text():28}"
            if name in AIMS:
                theirs, share = added(pairs, clock), AIMS[name]
                excess: Interval = excess_interval(ours, theirs, share)
                text += f" Leitstand adds {ratio_text(ours, theirs)} of it; at most {share:g}: {verdict(excess)}"
                text += f" (beyond the aim: {excess.text()} ms)"
            lines.append(text)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("tiny", "demo"), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=20, help="pairs per entry and round")
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument(
        "--only", nargs="+", choices=tuple(ENTRIES), default=[name for name in ENTRIES if name != "original"]
    )
    parser.add_argument("--json", type=Path, help="write all pairs into this file, too")
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    world = World.join(rank_environment(), "auto", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            data_root=Path(world.from_main(folder)), **SIZES[given.model]._asdict(), log_every=given.log_every,
            val_step_every=NEVER, checkpoint_every=NEVER, max_steps=NEVER,
        )  # fmt: skip
        found = compare(Bench(world, config), given.only, given.rounds, given.pairs)
    if world.is_main:
        sys.stdout.write(
            f"{given.model}, {world.size} ranks on {world.device}, a log every {given.log_every} steps, "
            f"{given.rounds} rounds of {given.pairs} pairs of {BLOCK_STEPS} steps; {load_text()}\n"
        )
        sys.stdout.write("".join(describe(name, pairs) + "\n" for name, pairs in found.items()))
        if "leitstand" in found:
            sys.stdout.write(judge(found))
        if given.json:
            given.json.write_text(json.dumps(found))
    world.leave()


if __name__ == "__main__":
    main()

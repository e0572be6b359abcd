"""What control, metrics and the values beside the gradients cost per step on 1, 2, 4 and 8 gloo ranks, and beyond.

    python -m bench.scaling.ranks [--ranks 1 2 4 8] [--rounds 2] [--pairs 8] [--simulate-to 4096]

Measured, in processes of one machine, the numbers of ranks in turn:
  word       one exchange of the control word (16 bytes), sent and awaited at once; a step hides it behind its update
  window     the exchange of a log point, 64 bytes for each rank, and the same with 64 KiB and 1 MiB
  passenger  a bare step with the values beside its gradients, against one without, in alternating blocks
  whole      a step of the whole trainer against a bare one, likewise
  table      rank 0's reports of so many ranks, taken in and written to the store once a second, processor time

More ranks than cores take turns on them, which the measured times contain and a cluster does not have. So the
simulation takes from here nothing but how rank 0's own work grows; its latencies are stated, and its shape is gloo's.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import torch

from bench.scaling.model import ROW_BYTES, WORD_BYTES, Cluster, Fit, Measured, Shape, fit, simulate, table
from bench.steps.blocks import Pair, load_text
from bench.steps.intervals import median_interval
from bench.steps.loops import NEVER, Bare, Bench, to_float, trainer_at_work
from bench.steps.synthetic import SIZES, Synthetic
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from ddp.metrics.piggyback import PiggybackModule
from ddp.metrics.step_metrics import REDUCED
from ddp.recording.store_writer import rank_row
from ddp.watchdog.rank_status import RankReport, RankStatusTable
from ddp.watchdog.stages import Stage
from service.config.settings import RunConfig
from service.store.store import Store

REPEATS = 100
SIZES_BYTES = (65_536, 1_048_576)
TABLE_RANKS = (64, 512, 4096)
STACK_BYTES = 2_000
"""A training thread's stack as text, as the watchdog sends it."""
CLUSTERS = {
    "kernel TCP, 10 µs one way, host ahead of its GPU by 50 ms": Cluster(0.25, 10e-6, cover_seconds=0.05),
    "kernel TCP, 30 µs one way, host ahead of its GPU by 50 ms": Cluster(0.25, 30e-6, cover_seconds=0.05),
    "Ethernet, 150 µs one way, nothing to hide behind": Cluster(0.25, 150e-6, bytes_per_second=1e8),
}
SIMULATED_STEPS = 500


class Carrying(Bare):
    """The bare step with the values of each step beside its gradients, and nothing else."""

    def __init__(self, world: World, config: RunConfig, workload: Synthetic) -> None:
        super().__init__(world, config, workload)
        network = workload.build_model().to(world.device)
        self._carrier = PiggybackModule(network, REDUCED, world.device)
        self.model = world.wrap(self._carrier, static_graph=False, share_buckets=config.gradient_as_bucket_view)
        groups = workload.parameter_groups(network)
        self.optimizer = torch.optim.AdamW(groups, lr=config.max_lr, fused=config.fused_adamw)
        self._parameters = list(network.parameters())
        self.reduced = torch.zeros(REDUCED)

    def advance(self) -> None:
        """One step."""
        batch = next(self.batches)
        terms = self.loss(self.model(to_float(batch.lr, self._device)), to_float(batch.gt, self._device))
        total = (terms * self.weights).sum()
        values = torch.cat([total.detach().view(1), terms.detach(), terms.detach()[:2]])
        (total + self._carrier.attach(values)).backward()
        self.reduced = self._carrier.reduced().clone()
        torch.nn.utils.clip_grad_norm_(self._parameters, self.grad_clip)
        self.optimizer.step()
        self.model.zero_grad(set_to_none=True)


def exchange_times(world: World, exchange: Callable[[], object]) -> list[float]:
    """Seconds of each of REPEATS exchanges, all ranks beginning together."""
    found = []
    for _ in range(REPEATS):
        world.sum(torch.zeros(1))  # ranks leave it within one exchange of each other
        began = time.perf_counter()
        exchange()
        found.append(time.perf_counter() - began)
    return found[REPEATS // 10 :]


def measure_ranks(world: World, folder: Path, pairs: int) -> dict[str, list[float]]:
    """On each rank: the exchanges' times (s), and what the blocks add (ms), by the clock and of the processor."""
    found = {
        "word": exchange_times(world, lambda: world.agree(0, 1).result()),
        "window": exchange_times(world, lambda: world.sum(torch.zeros(world.size, 8, dtype=torch.float64))),
    }
    for size in SIZES_BYTES:
        values = torch.zeros(size // 8, dtype=torch.float64)
        found[f"{size}"] = exchange_times(world, lambda values=values: world.sum(values))  # type: ignore[misc]
    config = RunConfig(
        data_root=folder, **SIZES["tiny"]._asdict(), val_step_every=NEVER, checkpoint_every=NEVER, max_steps=NEVER
    )
    bench = Bench(world, config)
    found |= _by_clock("passenger", bench.pairs(pairs, Carrying(world, config, bench.workload).advance))
    with trainer_at_work(world, config, bench.workload) as trainer:
        found |= _by_clock("whole", bench.pairs(pairs, trainer.advance))
    return found


def _by_clock(name: str, pairs: list[Pair]) -> dict[str, list[float]]:
    return {
        name: [1000 * (pair.other.wall - pair.bare.wall) for pair in pairs],
        f"{name}, thread": [1000 * (pair.other.thread - pair.bare.thread) for pair in pairs],
        f"{name}, bare step": [1000 * pair.bare.wall for pair in pairs],
    }


def launch(ranks: int, pairs: int) -> dict[str, list[float]]:
    """Measure on so many ranks of this machine; the figures of rank 0."""
    with tempfile.TemporaryDirectory(prefix="leitstand-scaling-") as folder:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m",
            "bench.scaling.ranks", "--folder", folder, "--pairs", str(pairs),
        ]  # fmt: skip
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=900)
        found: dict[str, list[float]] = json.loads(Path(folder, "found.json").read_text())
    return found


def table_seconds(ranks: int, looks: int = 5) -> float:
    """Processor seconds that rank 0 spends once a second on the reports of so many ranks, median."""
    reports = [
        RankReport(1, "host-0001", 4242, "cuda:0", Stage.FORWARD, 1000, 0.1, 0.0, "x" * STACK_BYTES, 1.0)
        for _ in range(ranks)
    ]
    with tempfile.TemporaryDirectory(prefix="leitstand-table-") as folder:
        store = Store(Path(folder, "store.db"), create=True, keep_open=True)
        store.open_run("bench", {})
        seen, found = RankStatusTable(), []
        for number in range(looks):
            texts = [replace(report, number=number).encode() for report in reports]
            began = time.thread_time()
            seen.update(texts)
            store.ranks.replace("bench", [rank_row(status, time.time()) for status in seen.statuses()])
            found.append(time.thread_time() - began)
        store.close()
    return statistics.median(found)


def describe(found: dict[int, dict[str, list[float]]]) -> str:
    """A line for each number of ranks."""
    lines = [f"medians (their 95 % intervals); {load_text()}"]
    for ranks, figures in found.items():
        exchanges = "  ".join(
            f"{name} {statistics.median(figures[name]) * 1e6:.0f} µs"
            for name in ("word", "window", *map(str, SIZES_BYTES))
        )
        added = {name: median_interval(figures[name]).text() for name in figures if name.startswith(("pass", "whole"))}
        blocks = "  ".join(
            f"{name} {added[name]} ms, thread {added[f'{name}, thread']}" for name in ("passenger", "whole")
        )
        bare = statistics.median(figures["whole, bare step"])
        lines.append(f"{ranks} ranks  {exchanges}\n         bare step {bare:.1f} ms  {blocks}")
    return "\n".join(lines) + "\n"


def fits_of(found: dict[int, dict[str, list[float]]]) -> list[Fit]:
    """All exchanges fitted as a ring's and as a tree's."""
    measured = [
        Measured(ranks, size, statistics.median(figures[name]))
        for ranks, figures in found.items()
        for name, size in {
            "word": WORD_BYTES,
            "window": ROW_BYTES * ranks,
            **{str(size): size for size in SIZES_BYTES},
        }.items()
    ]
    return [fit(measured, shape) for shape in Shape]


def simulated(largest: int) -> str:
    """The simulation as text: gloo's ring, with words in every check and paced as they are; a tree for comparison."""
    ranks = [4**power for power in range(1, 7) if 4**power <= largest]
    lines = []
    for name, cluster in CLUSTERS.items():
        ways = {
            "a ring, a word in every check": (replace(cluster, is_paced=False), Shape.RING),
            "a ring, words paced by what they take": (cluster, Shape.RING),
            "a tree, a word in every check": (replace(cluster, is_paced=False), Shape.TREE),
        }
        for way, (assumed, shape) in ways.items():
            shares = {n: simulate(assumed, n, SIMULATED_STEPS, shape, numpy.random.default_rng(n)) for n in ranks}
            lines.append(f"SIMULATED: {name}; steps of {cluster.step_seconds * 1000:.0f} ms; {way}")
            lines.append(table(shares))
    return "\n".join(lines)


def be_a_rank(folder: Path, pairs: int) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    world = World.join(rank_environment(), "auto", threads=1)
    found = measure_ranks(world, folder, pairs)
    if world.is_main:
        (folder / "found.json").write_text(json.dumps(found))
    world.leave()


def report_measured(counts: list[int], rounds: int, pairs: int) -> None:
    """Measure on each number of ranks in turn, and say what was found."""
    found: dict[int, dict[str, list[float]]] = {ranks: {} for ranks in counts}
    for _ in range(rounds):
        for ranks in counts:
            for name, values in launch(ranks, pairs).items():
                found[ranks].setdefault(name, []).extend(values)
    sys.stdout.write(describe(found))
    for fitted in fits_of(found):
        sys.stdout.write(
            f"as a {fitted.shape}: {fitted.base * 1e6:.0f} µs + {fitted.per_hop * 1e6:.1f} µs · hops + "
            f"{fitted.per_byte * 1e9:.2f} ns · bytes; not explained: {fitted.error * 1e6:.0f} µs\n"
        )
    for ranks in TABLE_RANKS:
        sys.stdout.write(f"table of {ranks} ranks: {table_seconds(ranks) * 1000:.1f} ms of processor, once a second\n")


def main() -> None:
    """Measure and report, or be a rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--simulate-to", type=int, default=4096)
    parser.add_argument("--only-simulate", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        return be_a_rank(given.folder, given.pairs)
    if not given.only_simulate:
        report_measured(given.ranks, given.rounds, given.pairs)
    sys.stdout.write(simulated(given.simulate_to))
    return None


if __name__ == "__main__":
    main()

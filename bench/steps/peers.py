"""What Lightning and Accelerate add to a step, beside Leitstand, with equal logging, against the same loop bare.

    python -m venv PEERS
    PEERS/bin/pip install -r requirements.lock && PEERS/bin/pip install -c requirements.lock --group bench
    PEERS/bin/pip install --no-deps -e .
    OMP_NUM_THREADS=1 PEERS/bin/torchrun --standalone --nproc-per-node=2 -m bench.steps.peers [--model tiny|demo]
        [--rounds N] [--pairs N] [--log-every N] [--only NAME …]

An environment of its own, because nothing else needs the two libraries. Every entry trains a copy of the same network
on the same batches in the same processes; blocks of 20 of its steps alternate with blocks of the bare loop. The order
of the entries rotates from round to round. Every entry clips, counts the mean loss terms of all steps, averages them
over the ranks every N steps and has rank 0 write them: Leitstand into its store, the others into a CSV file, as their
own loggers do. Lightning calls `log_dict(sync_dist=True)` at those steps only; its habit of calling it in every step is
the entry `lightning/each`.
"""

import argparse
import csv
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from accelerate import Accelerator
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from bench.steps.blocks import BLOCK_STEPS, Pair, Stopwatch, block_cost, describe, load_text, measure
from bench.steps.loops import NEVER, Bare, make_optimizer, to_float, trainer_at_work
from bench.steps.synthetic import SIZES, Pixels, Synthetic
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from ddp.workload import Share
from service.config.settings import RunConfig
from service.loss_terms import LOSS_TERMS, TERM_COUNT

WARM_UP_BLOCKS = 2


class Bench:
    """What every entry is given."""

    def __init__(self, world: World, config: RunConfig) -> None:
        self.world, self.config = world, config
        self.workload = Synthetic(config)
        self.bare = Bare(world, config, self.workload)

    def batches(self) -> Iterator[Pixels]:
        """The batches of this rank."""
        return self.workload.batches(Share(self.world.rank, self.world.size, 0))

    def pairs(self, count: int, advance: Callable[[], None]) -> list[Pair]:
        """So many pairs of blocks, after warming up."""
        measure(WARM_UP_BLOCKS, self.bare.advance, advance, self.world.device)
        return measure(count, self.bare.advance, advance, self.world.device)


def bare_twin(bench: Bench, pairs: int) -> list[Pair]:
    """The noise."""
    return bench.pairs(pairs, Bare(bench.world, bench.config, bench.workload).advance)


def leitstand(bench: Bench, pairs: int) -> list[Pair]:
    """Leitstand's loop, everything on."""
    with trainer_at_work(bench.world, bench.config, bench.workload) as trainer:
        return bench.pairs(pairs, trainer.advance)


def accelerate(bench: Bench, pairs: int) -> list[Pair]:
    """Accelerate's loop."""
    with (bench.config.data_root / "accelerate.csv").open("w") as file:
        return bench.pairs(pairs, AccelerateLoop(bench, csv.writer(file)).advance)


class AccelerateLoop:
    """The loop of Accelerate's documentation, with the means of the terms reduced every LOG_EVERY steps."""

    def __init__(self, bench: Bench, writer: Any) -> None:
        self._accelerator = Accelerator(cpu=bench.world.device.type == "cpu")
        self._log_every, self._writer = bench.config.log_every, writer
        self._grad_clip, self._weights, self._loss = bench.bare.grad_clip, bench.bare.weights, bench.bare.loss
        model = bench.workload.build_model()
        optimizer = make_optimizer(bench.config, bench.workload, model)
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self._batches = bench.batches()
        self._sums = torch.zeros(TERM_COUNT, device=bench.world.device)
        self._step = 0

    def advance(self) -> None:
        """One step."""
        batch = next(self._batches)
        device = self._accelerator.device
        terms = self._loss(self._model(to_float(batch.lr, device)), to_float(batch.gt, device))
        self._accelerator.backward((terms * self._weights).sum())
        self._accelerator.clip_grad_norm_(self._model.parameters(), self._grad_clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._sums += terms.detach()
        self._step += 1
        if self._step % self._log_every == 0:
            self._log()

    def _log(self) -> None:
        means: Tensor = self._accelerator.reduce(self._sums / self._log_every, "mean")
        self._sums.zero_()
        if self._accelerator.is_main_process:
            self._writer.writerow([self._step, *means.tolist()])


def lightning_rare(bench: Bench, pairs: int) -> list[Pair]:
    """Lightning's loop, logging at the log points."""
    return fit(bench, pairs, log_each=False)


def lightning_each(bench: Bench, pairs: int) -> list[Pair]:
    """Lightning's loop, logging in each step."""
    return fit(bench, pairs, log_each=True)


def fit(bench: Bench, pairs: int, *, log_each: bool) -> list[Pair]:
    """Lightning owns its loop: a callback measures its blocks and makes the bare ones in between."""
    blocks = BlockCallback(bench, pairs)
    trainer = lightning.Trainer(
        accelerator="cpu" if bench.world.device.type == "cpu" else "gpu", devices=bench.world.size,
        strategy=DDPStrategy(gradient_as_bucket_view=bench.config.gradient_as_bucket_view),
        max_steps=(WARM_UP_BLOCKS + pairs) * BLOCK_STEPS, gradient_clip_val=bench.bare.grad_clip, callbacks=[blocks],
        logger=CSVLogger(bench.config.data_root / "lightning"), log_every_n_steps=bench.config.log_every,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(LightningNetwork(bench, log_each), train_dataloaders=Endless(bench))
    return blocks.pairs[WARM_UP_BLOCKS:]


class Endless:
    """The batches as something that Lightning can begin anew."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __iter__(self) -> Iterator[Pixels]:
        return self._bench.batches()


class LightningNetwork(lightning.LightningModule):  # type: ignore[misc]  # only the peers' environment has its types
    """The same network, loss and optimizer as Lightning wants them."""

    def __init__(self, bench: Bench, log_each: bool) -> None:
        super().__init__()
        self.network = bench.workload.build_model()
        self._bench, self._log_each, self._weights = bench, log_each, bench.bare.weights
        self._sums = torch.zeros(TERM_COUNT, device=bench.world.device)

    def training_step(self, batch: Pixels, index: int) -> Tensor:
        """The weighted loss of one batch."""
        output = self.network(to_float(batch.lr, self.device))
        terms: Tensor = self._bench.bare.loss(output, to_float(batch.gt, self.device))
        self._sums += terms.detach()
        log_every = self._bench.config.log_every
        if self._log_each:
            self.log_dict(_named(terms.detach()), sync_dist=True)
        elif (index + 1) % log_every == 0:
            self.log_dict(_named(self._sums / log_every), sync_dist=True)
        if (index + 1) % log_every == 0:
            self._sums.zero_()
        return (terms * self._weights).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, as everywhere here."""
        return make_optimizer(self._bench.config, self._bench.workload, self.network)


def _named(values: Tensor) -> Mapping[str, Tensor]:
    return {term.label: value for term, value in zip(LOSS_TERMS, values, strict=True)}


class BlockCallback(lightning.Callback):  # type: ignore[misc]  # as above
    """After every block of Lightning's steps: its time, then a block of the bare loop."""

    def __init__(self, bench: Bench, pairs: int) -> None:
        self._bench, self._count = bench, pairs
        self.pairs: list[Pair] = []
        self._stopwatch = Stopwatch(bench.world.device)

    def on_train_start(self, *_: Any) -> None:
        """The first block begins."""
        self._stopwatch = Stopwatch(self._bench.world.device)

    def on_train_batch_end(self, _trainer: Any, _module: Any, _outputs: Any, _batch: Any, index: int) -> None:
        """A step is done."""
        if (index + 1) % BLOCK_STEPS:
            return
        cost = self._stopwatch.cost()
        bare = block_cost(self._bench.bare.advance, self._bench.world.device)
        self.pairs.append(Pair(bare, cost))
        self._stopwatch = Stopwatch(self._bench.world.device)


ENTRIES: dict[str, Callable[[Bench, int], list[Pair]]] = {
    "bare": bare_twin,
    "leitstand": leitstand,
    "accelerate": accelerate,
    "lightning": lightning_rare,
    "lightning/each": lightning_each,
}


def compare(bench: Bench, names: list[str], rounds: int, pairs: int) -> dict[str, list[Pair]]:
    """Pairs of all entries; each round begins with the next one, in a run directory of its own."""
    found: dict[str, list[Pair]] = {name: [] for name in names}
    root = bench.config.data_root
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            bench.config = replace(bench.config, data_root=root / f"{number}-{name.replace('/', '-')}")
            bench.config.data_root.mkdir(parents=True, exist_ok=True)
            found[name] += ENTRIES[name](bench, pairs)
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("tiny", "demo"), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=20, help="pairs per entry and round")
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=tuple(ENTRIES), default=list(ENTRIES))
    given = parser.parse_args()
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
    world.leave()


if __name__ == "__main__":
    main()

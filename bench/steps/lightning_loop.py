"""The same network and loss in Lightning's own loop, logging at log points or in each step."""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from bench.steps.blocks import BLOCK_STEPS, Pair, Stopwatch, block_cost
from bench.steps.loops import WARM_UP_BLOCKS, Bench, make_optimizer, to_float
from bench.steps.synthetic import Pixels
from service.loss_terms import LOSS_TERMS, TERM_COUNT


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

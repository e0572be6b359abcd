"""The loop of Accelerate's documentation, logging at log points or in each step."""

import csv
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, on_main_process

from bench.steps.blocks import Pair
from bench.steps.loops import Bench, make_optimizer, to_float
from service.loss_terms import LOSS_TERMS, TERM_COUNT

NAMES = tuple(term.label for term in LOSS_TERMS)


def accelerate_rare(bench: Bench, pairs: int) -> list[Pair]:
    """Accelerate's loop, logging at the log points."""
    return bench.pairs(pairs, AccelerateLoop(bench, log_every=bench.config.log_every).advance)


def accelerate_each(bench: Bench, pairs: int) -> list[Pair]:
    """Accelerate's loop, logging in each step."""
    return bench.pairs(pairs, AccelerateLoop(bench, log_every=1).advance)


class CsvTracker(GeneralTracker):  # type: ignore[misc]  # only the peers' environment has its types
    """A tracker of one's own, as its documentation describes them: a line in a file for each log."""

    name = "csv"
    requires_logging_directory = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("w")
        self._writer = csv.writer(self._file)

    @property
    def tracker(self) -> Any:
        """What writes."""
        return self._writer

    @on_main_process  # type: ignore[untyped-decorator]  # as above
    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        """Write a line."""
        self._writer.writerow([step, *values.values()])


class AccelerateLoop:
    """One network, with the means of the terms over so many steps reduced over the ranks and logged."""

    def __init__(self, bench: Bench, log_every: int) -> None:
        tracker = CsvTracker(bench.config.data_root / f"accelerate-{bench.world.rank}.csv")
        self._accelerator = Accelerator(cpu=bench.world.device.type == "cpu", log_with=[tracker])
        self._accelerator.init_trackers("bench")
        self._log_every = log_every
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
        means = self._accelerator.reduce(self._sums / self._log_every, "mean").tolist()
        self._sums.zero_()
        self._accelerator.log(dict(zip(NAMES, means, strict=True)), step=self._step)

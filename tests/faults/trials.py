"""Trainings to which the faults of a test happen, and the undisturbed ones that they must equal."""

import copy
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.kills.campaign import write_dataset
from bench.kills.comparison import final_complaints
from bench.kills.inspection import RunInspector
from bench.kills.killed_training import VAL_STEP_EVERY, Options, Tally, Training
from tests.faults.injection import FaultPage
from tests.faults.ordeal import Ordeal
from tests.faults.places import small_disk
from tests.faults.table import Fault
from tests.postgres import PostgresService

STEPS, CHECKPOINT_EVERY, RESTARTS = 500, 25, 100
"""A fault takes 4 to 110 steps, on a quiet machine more than on a busy one; ten of them took 264."""


class Trials:
    """Trainings of one kind, each on its own small disk, and the references of all numbers of ranks."""

    def __init__(self, folder: Path) -> None:
        self.page = FaultPage(folder)
        self._folder, self._dataset = folder, write_dataset(folder / "patches")
        environment = {**self.page.environment, "TORCHRUN_FORK_SERVER": "1"}
        self._options = Options(
            1, restarts=RESTARTS, max_steps=STEPS, checkpoint_every=CHECKPOINT_EVERY, environment=environment
        )
        self._references: dict[int, Training] = {}

    def meet(self, ranks: int, faults: list[Fault], server: PostgresService | None = None) -> list[str]:
        """Let faults happen to a training, one after the other, and let it end; returns all that is wrong."""
        wrong = []
        with self._training(ranks, server) as ordeal:
            wrong += [f"first start: {complaint}" for complaint in ordeal.settle()]
            for fault in faults:
                assert ordeal.has_room(), f"no steps are left for {fault.name}"
                ordeal.await_ranks()
                ordeal.ask()
                has_met = fault.deed.happen(ordeal)
                wrong += [f"{fault.name}: {complaint}" for complaint in ordeal.settle()]
                assert has_met, f"{fault.name} did not happen"
            ordeal.finish()
            reference = self._reference(ranks)
            return wrong + [f"at the end: {complaint}" for complaint in final_complaints(ordeal.training, reference)]

    def copied_reference(self, ranks: int) -> tuple[Training, Training]:
        """Return a copy of the undisturbed training that has ended, and that training."""
        reference = self._reference(ranks)
        twin = copy.copy(reference)
        twin.folder = self._folder / f"copy-{ranks}"
        twin.root = twin.folder / "run"
        shutil.copytree(reference.folder, twin.folder, symlinks=True)
        twin.inspector = RunInspector(twin.root, VAL_STEP_EVERY)
        return twin, reference

    @contextmanager
    def _training(self, ranks: int, server: PostgresService | None) -> Iterator[Ordeal]:
        folder = self._folder / f"{ranks}-{'sqlite' if server is None else 'postgresql'}"
        options = replace(self._options, ranks=ranks, store_url=None if server is None else server.new_database())
        with small_disk(folder):
            ordeal = Ordeal(folder / "training", self._dataset, options, self.page, random.Random(ranks))
            ordeal.server = server
            try:
                yield ordeal
            finally:
                ordeal.end()

    def _reference(self, ranks: int) -> Training:
        if ranks not in self._references:
            options = replace(self._options, ranks=ranks)
            training = Training(self._folder / f"reference-{ranks}", self._dataset, options, Tally())
            try:
                training.finish()
            finally:
                training.end()
            self._references[ranks] = training
        return self._references[ranks]

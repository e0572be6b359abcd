"""The default workload with dropout, and with gates for tests: it waits, signals or breaks down at a given micro-batch.

Named by WORKLOAD in tests of whole trainings. Environment of the ranks, each optional:

    TEST_GATE     a path: the first micro-batch waits until it exists
    TEST_MEMORY   `rank:samples`: that rank runs out of memory with larger micro-batches
    TEST_IMAGE    `rank:pixels`: that rank runs out of memory with validation images, or tiles, of more LR pixels
    TEST_BATCH_NORM        if set: batch normalization after the first layer, whose buffers training changes
    TEST_VALIDATION_GATE   a path: each validation image waits until it exists
    TEST_EVENTS   `what@rank:micro-batch` separated by commas; micro-batches of a rank counted from 1 over the whole run
                  term: SIGTERM to itself · kill: SIGKILL · stop: SIGSTOP · hang: waits until TEST_RELEASE exists
                  slow: takes 40 ms longer (slow*9: nine in a row)
                  unusable: an error for people · crash: one that nobody expects
                  nan: a batch that makes the loss not finite (nan*3: three in a row) · bad: the same, whenever it comes
                  unhealed: a crash with a long text that is not UTF-8, after every restart too
Each happens once, in the first start of a launcher only; `bad` happens again whenever the run comes by.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr import workload
from ddp.vsr.feeding.training_data import TrainingData, ValidationImages, open_training_data
from ddp.vsr.networks.recurrent import VSR
from ddp.workload import Batch, Images, Share
from service.config.settings import RunConfig
from service.errors import UserError


@dataclass(frozen=True)
class Pixels:
    """A batch that is not made of bytes."""

    lr: Tensor
    gt: Tensor
    skipped: tuple[str, ...] = ()


class DroppingVSR(VSR):
    """Drops input pixels at random while training: every step draws random numbers."""

    def forward(self, lr: Tensor) -> Tensor:
        rank, _, most = os.environ.get("TEST_MEMORY", "").partition(":")
        if rank == os.environ.get("RANK") and len(lr) > int(most):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        rank, _, most = os.environ.get("TEST_IMAGE", "").partition(":")
        if not self.training and rank == os.environ.get("RANK") and lr.shape[-2] * lr.shape[-1] > int(most):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7372800000 bytes.")
        return super().forward(F.dropout(lr, 0.1, self.training))


class GatedImages:
    def __init__(self, images: ValidationImages) -> None:
        self.names: Sequence[str] = images.names
        self._images = images

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        wait_for(os.environ.get("TEST_VALIDATION_GATE"))
        return self._images.read(index)


class GatedWorkload(workload.VideoSuperResolution):
    def __init__(self, config: RunConfig, data: TrainingData) -> None:
        super().__init__(config, data)
        self.validation_images: Images = GatedImages(data.validation_images)

    def build_model(self) -> nn.Module:
        config = self._config
        model = DroppingVSR(
            config.n_feats, config.n_blocks, config.n_frames, config.scale, config.activation_checkpointing
        )
        if "TEST_BATCH_NORM" in os.environ:
            model.feat_extract = nn.Sequential(model.feat_extract, nn.BatchNorm2d(config.n_feats))  # type: ignore[assignment]
        return model

    def batches(self, share: Share) -> Iterator[Batch]:
        wait_for(os.environ.get("TEST_GATE"))
        per_micro_batch = self._config.batch_size * share.world_size
        for number, batch in enumerate(super().batches(share), start=1 + share.samples_seen // per_micro_batch):
            yield happening(batch, planned(share.rank).get(number, []))


def happening(batch: Batch, events: list[str]) -> Batch:
    for what in list(events):
        if what != "bad":
            events.remove(what)
        batch = happen(what, batch)
    return batch


@cache
def planned(rank: int) -> dict[int, list[str]]:
    """{micro-batch: what happens to this rank}."""
    found: dict[int, list[str]] = {}
    is_restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    for text in filter(None, os.environ.get("TEST_EVENTS", "").split(",")):
        what, _, place = text.partition("@")
        if is_restart and what != "unhealed":
            continue
        of_rank, _, number = place.partition(":")
        what, _, times = what.partition("*")
        if int(of_rank) == rank:
            for offset in range(int(times or 1)):
                found.setdefault(int(number) + offset, []).append(what)
    return found


def happen(what: str, batch: Batch) -> Batch:
    if what == "unusable":
        raise UserError("the picture of this micro-batch is of no use; take it out.")
    if what == "unhealed":
        raise OSError(f"caf\udce9.png, {'long ' * 100_000}")
    if what == "crash":
        raise ZeroDivisionError("divided by what is not there")
    if what in {"nan", "bad"}:
        return Pixels(torch.full(batch.lr.shape, float("nan")), batch.gt.float())
    if what == "hang":
        hang_until_released()
    elif what == "slow":
        time.sleep(0.04)
    else:
        os.kill(os.getpid(), {"term": signal.SIGTERM, "kill": signal.SIGKILL, "stop": signal.SIGSTOP}[what])
    return batch


def hang_until_released() -> None:
    """A loader that waits for a disk that is away."""
    wait_for(os.environ["TEST_RELEASE"])


def wait_for(path: str | None) -> None:
    while path and not Path(path).exists():
        time.sleep(0.005)


def build(config: RunConfig) -> GatedWorkload:
    return GatedWorkload(config, open_training_data(config))

"""Images per second of the whole trainer in each way to compute, of the step by hand, and of the original's loop."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.gpu.context import Context, rate_of
from bench.steps.loops import Bare, trainer_at_work
from bench.steps.original import Original
from bench.steps.synthetic import Synthetic

FAST = {"precision": "bfloat16", "channels_last": True}


@dataclass(frozen=True)
class Way:
    """Settings of a run, and whether cuDNN tries out its algorithms."""

    settings: dict[str, Any] = field(default_factory=dict)
    tries_algorithms: bool = False


WAYS = {
    "float32": Way(),
    "bfloat16": Way({"precision": "bfloat16"}),
    "bfloat16, channels-last": Way(FAST),
    "bfloat16, channels-last, cudnn.benchmark": Way(FAST, tries_algorithms=True),
    "bfloat16, channels-last, torch.compile": Way({**FAST, "compile_model": True}),
}


def measure_trainer(context: Context, way: str) -> None:
    """A row: the whole trainer with its recorder, in this way."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        torch.backends.cudnn.benchmark = WAYS[way].tries_algorithms
        config = context.config(Path(folder), **WAYS[way].settings)
        with trainer_at_work(context.world(), config, Synthetic(config)) as trainer:
            write_rate(context, f"Leitstand, {way}", trainer.advance)


def measure_bare(context: Context) -> None:
    """A row: the step by hand, computed as the fast way without trying algorithms."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        config = context.config(Path(folder), **FAST)
        bare = Bare(context.world(), config, Synthetic(config))
        write_rate(context, "by hand, bfloat16, channels-last", bare.advance)


def measure_original(context: Context) -> None:
    """A row: the loop that Leitstand follows, as it was."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        write_rate(context, "the original's loop", Original(context.device, context.config(Path(folder))).advance)


def write_rate(context: Context, what: str, advance: Callable[[], object]) -> None:
    """Write images per second, and the memory at most."""
    rate = rate_of(context, advance)
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most" if context.is_gpu else ""
    note = f"{rate.spread(context.size.batch_size)}, step {rate.median * 1000:.1f} ms{memory}"
    context.write(what, rate.images(context.size.batch_size), "images/s", note)


def of_way(way: str) -> Callable[[Context], None]:
    """The part that measures the trainer in this way."""
    return partial(measure_trainer, way=way)

"""How often the host waits for the device in a step, by torch's profiler, of the trainer and of the original's loop."""

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from bench.gpu.context import Context
from bench.gpu.throughput import FAST
from bench.steps.loops import trainer_at_work
from bench.steps.original import Original, parameter_tensors, reads_per_step
from bench.steps.synthetic import Synthetic

READS = ("aten::_local_scalar_dense",)
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpy", "hipStreamSynchronize", "hipDeviceSynchronize")
EVENT_WAITS = ("cudaEventSynchronize", "hipEventSynchronize")
NAMES = (*READS, *WAITS, *EVENT_WAITS)
RARE = 10**6
STEPS = 10
"""The trainer reads a block of values, ten steps old, every ten steps."""
ORIGINAL_STEPS = 3
LAUNCHES = ("cudaLaunch", "cuLaunch", "hipLaunch")


def measure_syncs(context: Context) -> None:
    """Rows: reads and waits per step between two log points; on a GPU those too that torch itself warns of."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        config = context.config(Path(folder), **{**FAST, "log_every": RARE})
        with trainer_at_work(context.world(), config, Synthetic(config)) as trainer:
            note = (
                "" if context.is_gpu else f"{parameter_tensors(context.size.n_blocks)} of them AdamW's of its counters"
            )
            write_counts(context, "Leitstand", trainer.advance, STEPS, note or "aim 0")
    original = Original(context.device, config)
    expected, counters = reads_per_step(context.size.n_blocks), parameter_tensors(context.size.n_blocks)
    note = f"known: {expected}, and {counters} by AdamW of its own counters, which lie on the host"
    write_counts(context, "the original's loop", original.advance, ORIGINAL_STEPS, note)


def write_counts(context: Context, what: str, advance: Callable[[], object], steps: int, note: str) -> None:
    counts = counts_per_step(context, advance, steps)
    context.write(f"{what}: reads", sum(counts[name] for name in READS), "per step", note)
    context.write(f"{what}: stream and device waits", sum(counts[name] for name in WAITS), "per step")
    events = sum(counts[name] for name in EVENT_WAITS)
    context.write(f"{what}: event waits", events, "per step", "Leitstand's are for values that are ten steps old")
    if context.is_gpu:
        said = warned(advance, steps)
        context.write(f"{what}: waits that torch warns of", len(said) / steps, "per step", "; ".join(said[:1]))


def counts_per_step(context: Context, advance: Callable[[], object], steps: int) -> Counter[str]:
    """The difference between a trace of twice so many steps and one of so many: the profiler's own waits fall out."""
    for _ in range(2 * steps):
        advance()
    short, long = traced(context, advance, steps), traced(context, advance, 2 * steps)
    return Counter({name: (long[name] - short[name]) / steps for name in NAMES})


def traced(context: Context, advance: Callable[[], object], steps: int) -> Counter[str]:
    """How often each of NAMES happened. Raises `RuntimeError` where the profiler sees nothing of the device."""
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if context.is_gpu else [ProfilerActivity.CPU]
    context.synchronize()
    with profile(activities=activities) as trace:
        for _ in range(steps):
            advance()
    counts = Counter({item.key: item.count for item in trace.key_averages()})
    if context.is_gpu and not any(key.startswith(LAUNCHES) for key in counts):
        raise RuntimeError(
            "the trace holds no launch of a kernel, so that no waits in it says nothing: is CUPTI allowed?"
        )
    return counts


def warned(advance: Callable[[], object], steps: int) -> list[str]:
    """What torch says of waits in so many steps, where it knows of them: file, line and text."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(steps):
                advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    said = [item for item in found if "synchroniz" in str(item.message)]
    return [f"{Path(item.filename).name}:{item.lineno} {str(item.message).partition(chr(10))[0]}" for item in said]

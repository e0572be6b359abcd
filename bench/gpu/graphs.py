"""Images per second of the step by hand as one CUDA graph: what is left to gain by not launching kernel by kernel."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.gpu.context import Context
from bench.gpu.throughput import FAST, write_rate
from bench.steps.loops import to_float
from bench.steps.synthetic import Synthetic
from ddp.workload import Share

CLIP = 1.5
SETTLING_STEPS = 3


def measure_graph(context: Context) -> None:
    """A row: forward, backward, clipping and AdamW replayed; without a GPU the same step, kernel by kernel."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        config = context.config(Path(folder), **FAST)
        workload = Synthetic(config)
        network = workload.build_model().to(context.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch = next(workload.batches(Share(0, 1, 0)))
        step = step_of(
            network, workload.build_loss().to(context.device), batch_of(context, batch.lr, batch.gt), context
        )
        write_rate(context, "by hand, one CUDA graph", captured(step, network) if context.is_gpu else step)


def batch_of(context: Context, lr: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The batch on the device, where a graph reads it from the same memory each time."""
    return to_float(lr, context.device), to_float(target, context.device)


def step_of(network: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor], context: Context) -> Callable[[], None]:
    """A step that reads nothing back, with an optimizer that may be captured."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True, capturable=context.is_gpu)
    lr, target = batch

    def step() -> None:
        for parameter in network.parameters():
            parameter.grad = None
        # A graph must not hold casts of weights that autocast keeps from one forward to the next.
        with torch.autocast(context.device.type, torch.bfloat16, cache_enabled=False):
            output = network(lr)
        loss(output.float(), target).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()

    return step


def captured(step: Callable[[], None], network: nn.Module) -> Callable[[], None]:
    """The step as a graph, after some steps on a side stream, as torch's documentation of CUDA graphs asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(SETTLING_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(side)
    for parameter in network.parameters():
        parameter.grad = None  # so that the gradients of the graph lie in its own memory
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay

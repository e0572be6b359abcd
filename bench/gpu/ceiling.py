"""What the device can do at most: bfloat16 convolutions as in the network's trunks, forward and backward."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu.context import Context, rate_of
from ddp.vsr.networks.recurrent import VSR

SCALE, FRAMES = 3, 5
LAYERS = 8
"""Convolutions in a row, so that a launch is short beside its work."""


def measure_ceiling(context: Context) -> None:
    """Rows: arithmetic of one image in a step, and the largest rate of convolutions over several batches."""
    context.write(
        "arithmetic", network_flops(context) / 1e12, "TFLOP per image", "forward and backward, counted by torch"
    )
    if context.is_gpu:
        torch.backends.cudnn.benchmark = True
    best, batch = max(
        (convolution_rate(context, batch), batch) for batch in (context.size.batch_size, 2 * context.size.batch_size)
    )
    layers = f"{LAYERS} convolutions 3x3 of {context.size.n_feats} features in a row"
    context.write("ceiling", best / 1e12, "TFLOP/s", f"{layers}, bfloat16, channels-last, batch {batch}")


def network_flops(context: Context) -> float:
    """Floating-point operations of one image, forward and backward, without memory or device."""
    size = context.size
    with torch.device("meta"):
        network = VSR(size.n_feats, size.n_blocks, FRAMES, SCALE)
        frames = torch.empty(1, FRAMES, 3, size.patch_size, size.patch_size)
    with FlopCounterMode(display=False) as counter:
        network(frames).sum().backward()
    return float(counter.get_total_flops())


def convolution_rate(context: Context, batch: int) -> float:
    """Operations per second of convolutions, forward and backward with respect to input and weights."""
    feats, side = context.size.n_feats, context.size.patch_size
    layers = nn.Sequential(*(nn.Conv2d(feats, feats, 3, padding=1, bias=False) for _ in range(LAYERS)))
    layers = layers.to(context.device, torch.bfloat16)
    layers = layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
    images = torch.randn(batch, feats, side, side, device=context.device, dtype=torch.bfloat16)
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    slope = torch.randn_like(images)

    def advance() -> None:
        for parameter in layers.parameters():
            parameter.grad = None
        images.grad = None
        layers(images).backward(slope)

    forward = 2.0 * 9 * feats * feats * side * side * batch * LAYERS
    return 3 * forward / rate_of(context, advance, share=0.2).median

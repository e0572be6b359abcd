"""The step of the trainer that Leitstand follows, rebuilt from what was found out about it: one process, one device.

Rebuilt are its waits for the device, which are what its loop costs on a GPU: every tracked layer reads its mean
|output| back in each forward, the controller reads five values in each micro-batch, every parameter tensor's gradient
norm and first moment are read back in each step, and the step ends with a synchronization of the device. So is what it
computes: float32, activations recomputed in backward, AdamW as torch makes it by default, clipping at 0.9 · the last
clip + 0.1 · the 95th percentile of 500 norms. Left out, in its favour, are its terminal (drawn in each step), its
status file (written every fifth step), and TensorBoard.
"""

import numpy
import torch
from torch import Tensor, nn

from bench.steps.loops import to_float
from bench.steps.synthetic import Synthetic
from ddp.vsr.networks.recurrent import VSR, tracked_layers
from ddp.workload import Share
from service.config.settings import RunConfig

HISTORY = 500
MIN_HISTORY = 100
FIRST_CLIP = 1.5


class Original:
    """Its loop on this network, loss and batches."""

    def __init__(self, device: torch.device, config: RunConfig, *, recomputes: bool = True) -> None:
        self._device, self._config = device, config
        workload = Synthetic(config)
        self.model = VSR(config.n_feats, config.n_blocks, config.n_frames, config.scale, recomputes).to(device)
        self.activities: dict[str, float] = {}
        for name, layer in tracked_layers(self.model).items():
            layer.register_forward_hook(self._reader(name))
        self._loss = workload.build_loss().to(device)
        self._weights = (config.l1_weight, config.ms_weight, config.grad_weight, config.perceptual_weight)
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=config.weight_decay)
        self._batches = workload.batches(Share(0, 1, 0))
        self._norms: list[float] = []
        self._clip = FIRST_CLIP
        self.momentum = 0.0

    def advance(self) -> None:
        """One step."""
        batch = next(self._batches)
        output = self.model(to_float(batch.lr, self._device))
        self._backward(output, to_float(batch.gt, self._device))
        self._clip_gradients()
        self._optimizer.step()
        self.momentum = self._mean_momentum()
        self._optimizer.zero_grad()
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _backward(self, output: Tensor, target: Tensor) -> None:
        """Five values are read: the L1 term, the sharpness ratio, and the three terms once more for display."""
        terms = self._loss(output, target)
        terms[0].item()
        with torch.no_grad():
            (sharpness(output) / sharpness(target)).item()
        total = sum(weight * term for weight, term in zip(self._weights, terms, strict=True))
        for term in terms[:3]:
            term.item()
        assert isinstance(total, Tensor)
        total.backward()

    def _clip_gradients(self) -> None:
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self._norms.append(sum(gradient.norm(2).item() ** 2 for gradient in gradients) ** 0.5)
        del self._norms[:-HISTORY]
        if len(self._norms) >= MIN_HISTORY:
            self._clip = 0.9 * self._clip + 0.1 * float(numpy.percentile(self._norms, 95))
        nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)

    def _mean_momentum(self) -> float:
        norms = [state["exp_avg"].norm().item() for state in self._optimizer.state.values()]
        return float(sum(norms) / len(norms))

    def _reader(self, name: str):  # type: ignore[no-untyped-def]  # torch's own type of a hook has no name
        def read(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.activities[name] = output.detach().abs().mean().item()

        return read


def sharpness(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, both directions averaged ()."""
    return (pictures.diff(dim=-1).abs().mean() + pictures.diff(dim=-2).abs().mean()) / 2


def reads_per_step(n_blocks: int) -> int:
    """Values read back in a step with one micro-batch: of layers, of the loss, of gradients and of moments.

    Each trunk runs twice, and so does its fusing layer. 354 at 32 blocks.
    """
    return 2 * blocks_of(n_blocks) + 2 * 2 + 1 + 5 + 2 * parameter_tensors(n_blocks)


def parameter_tensors(n_blocks: int) -> int:
    """Weights and biases of two convolutions in each block, and of the six others."""
    return 4 * blocks_of(n_blocks) + 2 * (1 + 3 + 2)


def blocks_of(n_blocks: int) -> int:
    """Blocks of both trunks."""
    return 2 * max(1, n_blocks // 2)

"""Activity of each layer of a network: the mean of |output| per call, summed on the device.

Never reads a value back from the device: the caller reduces `sums` and `calls` over ranks, divides once, and passes the
means to `activity_maps`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class ActivityProbe:
    """Context manager in which every call of a layer adds mean|output| to that layer's sum.

    A layer that runs twice per forward counts twice, so a mean over calls covers all propagation steps and all images.
    Leaving the block removes the hooks; the sums stay. Entering again starts from zero. Pass the plain modules: a
    compiled copy of the model ignores hooks that are registered later.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self.names = tuple(layers)
        self._layers = tuple(layers.values())
        self._handles: list[RemovableHandle] = []
        self._sums = torch.zeros(len(self.names), dtype=torch.float64)
        self._calls = [0] * len(self.names)

    def __enter__(self) -> Self:
        assert not self._handles, "this probe is already watching"
        parameters = (parameter for layer in self._layers for parameter in layer.parameters())
        device = next((parameter.device for parameter in parameters), torch.device("cpu"))
        self._sums = torch.zeros(len(self.names), dtype=torch.float64, device=device)
        self._calls = [0] * len(self.names)
        self._handles = [layer.register_forward_hook(self._make_hook(i)) for i, layer in enumerate(self._layers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def sums(self) -> Tensor:
        """Return the sum over calls of mean|output|, (n_layers,) float64, on the layers' device."""
        return self._sums.clone()

    def calls(self) -> Tensor:
        """Return the number of calls, (n_layers,) float64 on the same device, to be reduced together with `sums`."""
        return torch.tensor(self._calls, dtype=torch.float64, device=self._sums.device)

    def _make_hook(self, index: int) -> Callable[[nn.Module, object, Tensor], None]:
        """Return the hook of one layer; it must return None, since torch would use a value as the layer's output."""
        total = self._sums[index]  # a view: adding to it adds to the sums

        def add(module: nn.Module, inputs: object, output: Tensor) -> None:  # noqa: ARG001  torch fixes the signature
            # At least float32: the mean of a bfloat16 map would be rounded to three digits.
            total.add_(output.detach().abs().mean(dtype=torch.promote_types(output.dtype, torch.float32)))
            self._calls[index] += 1

        return add


def activity_maps(names: Sequence[str], raw_means: Sequence[float]) -> tuple[dict[str, float], dict[str, float], float]:
    """Return the record's two maps and peak from the mean |output| of each layer: (percent, raw, peak).

    percent = 100 · mean ÷ the strongest layer's mean, 0…100, and all zero if every layer outputs zero, which only the
    raw values and their peak reveal. A mean that is not finite stays so in both maps and does not enter the peak, so
    that one broken layer does not hide the others.
    """
    raw = dict(zip(names, raw_means, strict=True))
    peak = max((mean for mean in raw.values() if math.isfinite(mean)), default=0.0)
    percent = {name: 100.0 * (mean / peak if peak > 0.0 else 0.0 * mean) for name, mean in raw.items()}
    return percent, raw, peak

"""Memory on the host for copies of a state: reused, so that a copy touches no page for the first time."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_FREE = 1
"""Sets of buffers that are kept for the next copy; more are freed."""


class HostBuffers:
    """Sets of tensors on the host, each as large as what is copied of one state. Thread-safe.

    A set is in use from `take` to `give_back`. Of those that are not in use, one is kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[list[Tensor]] = []

    def take(self, sources: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors shaped and laid out as `sources`; page-locked for those on a GPU, which makes copies async.

        Their content is arbitrary. Raises `MemoryError` or `RuntimeError` without memory.
        """
        with self._lock:
            found = next((buffers for buffers in self._free if _fit(buffers, sources)), None)
            self._free = []  # of another network, or in use from now on
        return [_like(source) for source in sources] if found is None else found

    def give_back(self, buffers: list[Tensor]) -> None:
        """Let the next copy have these tensors."""
        with self._lock:
            if len(self._free) < MAX_FREE:
                self._free.append(buffers)

    def prepare(self, sources: Sequence[Tensor]) -> None:
        """Take memory for the first copy now, and touch all of it. Raises as `take`."""
        buffers = self.take(sources)
        for buffer in buffers:
            buffer.zero_()
        self.give_back(buffers)


def _like(source: Tensor) -> Tensor:
    return torch.empty_like(source, device="cpu", pin_memory=source.device.type == "cuda")


def _fit(buffers: Sequence[Tensor], sources: Sequence[Tensor]) -> bool:
    return len(buffers) == len(sources) and all(
        buffer.shape == source.shape and buffer.dtype == source.dtype and buffer.stride() == source.stride()
        for buffer, source in zip(buffers, sources, strict=True)
    )

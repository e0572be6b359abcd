"""State of the random generators of one rank: torch's, Python's, numpy's, and its GPU's."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_rng(seed: int) -> None:
    """Seed all generators."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


class StepGenerators:
    """The generators of one rank, seeded anew before every step.

    So what is drawn in a step follows from seed, rank and step alone: a rank that is gone takes nothing with it.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self._seed = seed
        self._rank = rank
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            self._generators.append(torch.cuda.default_generators[device.index])

    def begin_step(self, step: int) -> None:
        """Seed all generators for the step with this number. Waits for no device."""
        text = f"{self._seed} {self._rank} {step}"
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())
        for generator in self._generators:
            generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)


def rng_state(device: torch.device) -> dict[str, Any]:
    """Return the states of all generators as tensors and plain values, for a checkpoint."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_rng(device: torch.device, state: Mapping[str, Any]) -> None:
    """Restore a state of `rng_state`: the same numbers follow."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def preserved_rng(device: torch.device) -> Iterator[None]:
    """Restore all generators at the end of the block to their state at its start."""
    state = rng_state(device)
    try:
        yield
    finally:
        restore_rng(device, state)

"""Training samples of several sets, mixed by weight; which one stands at a position is a function of seed and position.

    block    as many positions as the weights add up to: exactly `weight` of each source, in an order of its own
    source   reads the samples of its positions 0, 1, 2 … as if it were alone: each once before any comes again

So the shares are exact, not only on average, and a run resumes at any position without replay.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ddp.vsr.sample_stream import Sample, hash_numbers

_BLOCK, _SOURCE = 3, 5  # separate these uses of the seed from others
_SEED_BITS = 2**31 - 1


def place_at(position: int, weights: tuple[int, ...], seed: int) -> tuple[int, int]:
    """Return which source the sample at a position comes from, and its position among those of that source."""
    block, slot = divmod(position, sum(weights))
    sources, ranks = _block(weights, seed, block)
    source = int(sources[slot])
    return source, block * weights[source] + int(ranks[slot])


def seed_of_source(seed: int, source: int) -> int:
    """Return the seed of one source, so that sources of the same size are not read in the same order."""
    return hash_numbers(seed, _SOURCE, source) & _SEED_BITS


@lru_cache(maxsize=4)
def _block(weights: tuple[int, ...], seed: int, block: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the source of each position of a block, and how many of the same source come before it there."""
    ordered = np.repeat(np.arange(len(weights)), weights)
    keys = np.array([hash_numbers(seed, _BLOCK, block, slot) for slot in range(len(ordered))], np.uint64)
    sources = ordered[np.argsort(keys, kind="stable")]
    ranks = np.zeros(len(sources), np.intp)
    for source, weight in enumerate(weights):
        ranks[sources == source] = np.arange(weight)
    return sources, ranks


class MixedDataset(Dataset[Sample]):
    """Samples by position of several sources, each of which has a name and a weight."""

    def __init__(self, names: Sequence[str], datasets: Sequence[Dataset[Sample]], weights: Sequence[int], seed: int):
        self._names = tuple(names)
        self._datasets = tuple(datasets)
        self._weights = tuple(weights)
        self._seed = seed

    def __getitem__(self, position: int) -> Sample:
        """Return the sample at a position. Raises DatasetError."""
        source, own_position = place_at(position, self._weights, self._seed)
        sample = self._datasets[source][own_position]
        name = self._names[source]
        return sample._replace(skipped=tuple(f"{name}: {skipped}" for skipped in sample.skipped))

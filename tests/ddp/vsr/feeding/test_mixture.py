"""Several sources in one stream: exact shares, each source as if it were alone, the same wherever one begins."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch.utils.data import Dataset

from ddp.vsr.feeding.mixture import MixedDataset, place_at, seed_of_source
from ddp.vsr.sample_stream import Sample
from tests.ddp.vsr.test_sample_stream import hash_of


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (7, 2, 5), (1, 999)])
def test_every_block_holds_exactly_the_weight_of_each_source(weights: tuple[int, ...]) -> None:
    period = sum(weights)
    for block in (0, 1, 12345):
        places = [place_at(block * period + slot, weights, seed=4) for slot in range(period)]
        assert Counter(source for source, _ in places) == dict(enumerate(weights))


@pytest.mark.parametrize("weights", [(1, 1), (7, 2, 5)])
def test_a_source_is_read_from_0_on_without_gaps(weights: tuple[int, ...]) -> None:
    places = [place_at(position, weights, seed=0) for position in range(20 * sum(weights))]

    for source in range(len(weights)):
        own = [position for of, position in places if of == source]
        assert own == list(range(20 * weights[source]))


def test_sources_alternate_at_random_and_differently_for_another_seed() -> None:
    weights = (5, 5)
    orders = [[place_at(position, weights, seed)[0] for position in range(1000)] for seed in (0, 1)]

    assert orders[0] != orders[1]
    changes = sum(a != b for a, b in pairwise(orders[0]))
    assert 480 < changes < 640  # 5/9 of neighbours in a block differ


def test_the_order_does_not_change_between_versions() -> None:
    """Runs resume bit by bit only as long as these numbers stay."""
    orders = [sorted(range(5), key=lambda slot: hash_of(7, 3, block, slot)) for block in (0, 1)]
    assert orders == [[4, 0, 2, 1, 3], [1, 3, 2, 4, 0]]  # slots 0 to 2 are of the first source
    assert [place_at(position, (3, 2), seed=7) for position in range(10)] == [
        (1, 0), (0, 0), (0, 1), (0, 2), (1, 1), (0, 3), (1, 2), (0, 4), (1, 3), (0, 5),
    ]  # fmt: skip


def test_seeds_of_sources_differ_and_are_settings() -> None:
    seeds = {seed_of_source(seed, source) for seed in range(20) for source in range(5)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)


class Numbers(Dataset[Sample]):
    """Samples that hold their position; odd ones replace a file."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __getitem__(self, position: int) -> Sample:
        value = torch.tensor(self._offset + position)
        return Sample(value, value, ("GT/a.png: it is empty",) if position % 2 else ())


def test_a_mixture_reads_what_stands_there_and_names_the_source_of_a_bad_file() -> None:
    mixed = MixedDataset(["day", "night"], [Numbers(0), Numbers(1000)], [3, 2], seed=7)

    assert [int(mixed[position].lr) for position in range(5)] == [1000, 0, 1, 2, 1001]
    assert mixed[4].skipped == ("night: GT/a.png: it is empty",)

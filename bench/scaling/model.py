"""What telemetry and control cost on very many ranks: a fit of measured exchanges, and a simulation. Pure arithmetic.

gloo reduces by a ring whatever the size: what is 16 bytes long lies in one chunk, which passes all ranks twice, one
after the other, so an exchange takes 2 (N - 1) hops. A tree takes 2 log2 N.

Legend: N = ranks, M = simulated steps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy

from ddp.control.agreement import CHECK_SECONDS, check_seconds

ROW_BYTES = 64
"""Each rank's row of a log point: 8 numbers of 8 bytes."""
PASSENGER_BYTES = 28
"""What travels with the gradients of each step: 7 numbers of 4 bytes."""
WORD_BYTES = 16


class Shape(StrEnum):
    """How the time of an exchange grows with the ranks."""

    RING = "ring"
    TREE = "tree"


def hops(ranks: int, shape: Shape) -> float:
    """Messages that follow one another in a reduction to all ranks."""
    if ranks == 1:
        return 0.0
    return 2.0 * (ranks - 1) if shape is Shape.RING else 2.0 * math.ceil(math.log2(ranks))


class Measured(NamedTuple):
    """The median time of one exchange, s."""

    ranks: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class Fit:
    """seconds = base + per_hop · hops + per_byte · bytes; `error` is the root mean square of the rest."""

    shape: Shape
    base: float
    per_hop: float
    per_byte: float
    error: float

    def seconds(self, ranks: int, size_bytes: int) -> float:
        """The time of an exchange that was not measured."""
        return self.base + self.per_hop * hops(ranks, self.shape) + self.per_byte * size_bytes


def fit(measured: Sequence[Measured], shape: Shape) -> Fit:
    """Least squares over all exchanges between at least two ranks. Raises `ValueError` with fewer than three."""
    used = [item for item in measured if item.ranks > 1]
    if len(used) < 3:
        raise ValueError(f"three unknowns need at least three measurements of two ranks or more: there are {len(used)}")
    matrix = numpy.array([[1.0, hops(item.ranks, shape), item.size_bytes] for item in used])
    times = numpy.array([item.seconds for item in used])
    scale = matrix.max(axis=0)  # bytes are large, seconds small
    found, *_ = numpy.linalg.lstsq(matrix / scale, times, rcond=None)
    base, per_hop, per_byte = (float(value) for value in found / scale)
    error = float(numpy.sqrt(numpy.mean((matrix @ (found / scale) - times) ** 2)))
    return Fit(shape, base, per_hop, per_byte, error)


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the machines; no field is measured here, `docs` of the simulation name where each is from.

    A step of one rank takes `step_seconds` times a lognormal number of `jitter` (standard deviation of its logarithm);
    with a probability of `straggle_chance` a rank loses `straggle_seconds`, exponentially distributed, in a step.
    `cover_seconds` of a step pass between sending a control word and needing it.
    """

    step_seconds: float
    hop_seconds: float
    bytes_per_second: float = 1e9
    jitter: float = 0.02
    straggle_chance: float = 1e-5
    straggle_seconds: float = 0.1
    cover_seconds: float = 0.0
    log_every: int = 100
    is_paced: bool = True
    """Whether words that take long are sent seldom, as they are, or all CHECK_SECONDS."""


class Share(NamedTuple):
    """Time that is added to a step, as shares of it: means over the simulated steps."""

    step_seconds: float
    word: float
    log_point: float
    passenger: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.word + self.log_point + self.passenger


def exchange_seconds(cluster: Cluster, ranks: int, size_bytes: int, shape: Shape) -> float:
    """One exchange: the hops one after the other, and the bytes, which a ring sends twice and a tree on every level."""
    if ranks == 1:
        return 0.0
    latency = hops(ranks, shape) * cluster.hop_seconds
    times_sent = 2.0 * (ranks - 1) / ranks if shape is Shape.RING else hops(ranks, shape)
    return latency + times_sent * size_bytes / cluster.bytes_per_second


def step_times(cluster: Cluster, ranks: int, steps: int, generator: numpy.random.Generator) -> numpy.ndarray:
    """How long each of M bare steps takes, (M,) s: as long as the slowest of N ranks, since gradients join all."""
    slowest = numpy.empty(steps)
    for number in range(steps):  # one by one, since N · M numbers need not be held at once
        own = cluster.step_seconds * generator.lognormal(0.0, cluster.jitter, ranks)
        lost = generator.random(ranks) < cluster.straggle_chance
        if lost.any():
            own[lost] += generator.exponential(cluster.straggle_seconds, int(lost.sum()))
        slowest[number] = own.max()
    return slowest


def simulate(cluster: Cluster, ranks: int, steps: int, shape: Shape, generator: numpy.random.Generator) -> Share:
    """What the exchanges add to M steps of N ranks, if the control word and the log point take this shape."""
    durations = step_times(cluster, ranks, steps, generator)
    word = max(0.0, exchange_seconds(cluster, ranks, WORD_BYTES, shape) - cluster.cover_seconds)
    log_point = exchange_seconds(cluster, ranks, ROW_BYTES * ranks, shape)
    ring = 2.0 * (ranks - 1) / ranks
    passenger = ring * PASSENGER_BYTES / cluster.bytes_per_second
    words = steps_with_word(durations, word, check_seconds(word) if cluster.is_paced else CHECK_SECONDS)
    mean = float(durations.mean())
    return Share(
        mean, word * words / steps / mean, log_point / cluster.log_every / mean if ranks > 1 else 0.0, passenger / mean
    )


def steps_with_word(durations: Sequence[float] | numpy.ndarray, word_seconds: float, apart_seconds: float) -> int:
    """In how many steps a control word is sent: each names the next one's step, by the pace since the one before."""
    sent, step, gap = 0, 0, 1
    while step < len(durations):
        sent += 1
        since = durations[step : step + gap]
        pace = (float(sum(since)) + word_seconds) / len(since)
        gap = max(1, math.ceil(apart_seconds / pace))
        step += gap
    return sent


def table(shares: Mapping[int, Share]) -> str:
    """Lines of text, one for each number of ranks."""
    lines = ["   ranks   step ms    word   log point   passenger     all"]
    for ranks, share in shares.items():
        lines.append(
            f"{ranks:8} {share.step_seconds * 1000:9.1f} {share.word:7.2%} {share.log_point:11.3%} "
            f"{share.passenger:11.5%} {share.total:7.2%}"
        )
    return "\n".join(lines) + "\n"

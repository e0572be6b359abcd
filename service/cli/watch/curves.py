"""The drawing of curves in braille: two columns and four rows of dots a cell."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from service.cli.watch.spans import EMPTY, Line, Span, pad
from service.cli.watch.view import Curve, Stretch

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille cell by row and column of its dots."""
BRAILLE = 0x2800
MIN_LOG_RATIO = 8.0
"""A positive curve whose highest value is so many times its lowest is drawn on a logarithmic scale."""
LABEL_WIDTH = 7
MAX_DIGITS = 5
"""Digits after the point of a label; finer ranges get an exponent."""


@dataclass(frozen=True)
class Scale:
    """The range of values that is drawn, linear or logarithmic."""

    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value between low (0) and high (1)."""
        low, high, at = (math.log(max(v, self.low)) if self.is_log else v for v in (self.low, self.high, value))
        return 0.5 if high <= low else min(1.0, max(0.0, (at - low) / (high - low)))

    def value(self, share: float) -> float:
        """Return the value at a place between low (0) and high (1)."""
        if self.is_log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)


def scale_of(curves: Sequence[Curve], *, may_be_log: bool = False) -> Scale | None:
    """Return the scale that holds all finite values of the curves, or None without any."""
    stretches = [stretch for curve in curves for stretch in curve.stretches]
    lows = [stretch.low for stretch in stretches if math.isfinite(stretch.low)]
    highs = [stretch.high for stretch in stretches if math.isfinite(stretch.high)]
    if not lows or not highs:
        return None
    low, high = min(lows), max(highs)
    return Scale(low, high, may_be_log and low > 0 and high > MIN_LOG_RATIO * low)


class Plot:
    """A field of braille cells with a tone each; curves that are drawn later lie above earlier ones."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._tones: list[list[str]] = [["text"] * width for _ in range(height)]

    def draw(self, curve: Curve, scale: Scale, steps: tuple[int, int], tone: str, faint: str) -> None:
        """Draw the means as a line in `tone`, and from lowest to highest value in `faint` behind it."""
        columns = self._columns(curve, scale, steps)
        for x, (low, high, _) in columns.items():
            if high - low > 1:
                self._vertical(x, low, high, faint)
        for (x, (_, _, y)), (next_x, (_, _, next_y)) in pairwise(columns.items()):
            self._segment(x, y, next_x, next_y, tone)
        for x, (_, _, y) in columns.items():
            self._vertical(x, y, y, tone)

    def lines(self) -> Iterator[Line]:
        """Yield the rows from top to bottom; neighbours of one tone are one span."""
        for bits, tones in zip(self._bits, self._tones, strict=True):
            spans: list[Span] = []
            begin = 0
            for end in range(1, self._width + 1):
                if end == self._width or tones[end] != tones[begin]:
                    text = "".join(chr(BRAILLE + cell) if cell else " " for cell in bits[begin:end])
                    spans.append(Span(text, tones[begin]))
                    begin = end
            yield tuple(spans)

    def _columns(self, curve: Curve, scale: Scale, steps: tuple[int, int]) -> dict[int, tuple[int, int, int]]:
        """Return the lowest, highest and mean dot of each column of dots that has a value."""
        first, last = steps
        factor = (2 * self._width - 1) / max(1, last - first)
        found: dict[int, list[Stretch]] = {}
        for stretch in curve.stretches:
            if math.isfinite(stretch.mean):
                middle = (stretch.first_step + stretch.last_step) / 2
                found.setdefault(round((middle - first) * factor), []).append(stretch)
        top = 4 * self._height - 1
        return {
            x: (
                round(top * scale.share(min(stretch.low for stretch in among))),
                round(top * scale.share(max(stretch.high for stretch in among))),
                round(top * scale.share(sum(stretch.mean for stretch in among) / len(among))),
            )
            for x, among in sorted(found.items())
        }

    def _segment(self, x: int, y: int, next_x: int, next_y: int, tone: str) -> None:
        """Draw from one point to another, without a gap in any column."""
        span = next_x - x
        for offset in range(span):
            begin, end = (round(y + (next_y - y) * at / span) for at in (offset, offset + 1))
            step = 0 if begin == end else (1 if begin < end else -1)
            self._vertical(x + offset, begin, end - step, tone)

    def _vertical(self, x: int, begin: int, end: int, tone: str) -> None:
        cell_x, dot_x = divmod(x, 2)
        for y in range(min(begin, end), max(begin, end) + 1):
            cell_y, dot_y = divmod(4 * self._height - 1 - y, 4)
            self._bits[cell_y][cell_x] |= DOTS[dot_y][dot_x]
            self._tones[cell_y][cell_x] = tone


def chart(curves: Sequence[tuple[Curve, str, str]], width: int, height: int, *, may_be_log: bool = False) -> list[Line]:
    """Return a chart of (curve, tone, faint tone) with its axes as `height` lines; an empty list without values."""
    scale = scale_of([curve for curve, _, _ in curves], may_be_log=may_be_log)
    plot_width, plot_height = width - LABEL_WIDTH - 1, height - 1
    if scale is None or plot_width < 4 or plot_height < 1:
        return []
    ends = [(c.stretches[0].first_step, c.stretches[-1].last_step) for c, _, _ in curves if c.stretches]
    steps = min(first for first, _ in ends), max(last for _, last in ends)
    plot = Plot(plot_width, plot_height)
    for curve, tone, faint in curves:
        plot.draw(curve, scale, steps, tone, faint)
    labels = _labels(scale, plot_height)
    rows = [(Span(labels.get(y, " " * LABEL_WIDTH) + " ", "muted"), *row) for y, row in enumerate(plot.lines())]
    return [*rows, _step_axis(steps, plot_width)]


def _labels(scale: Scale, height: int) -> Mapping[int, str]:
    """Return the values at the top, the middle and the bottom, by row."""
    rows = {0, height - 1, *([height // 2] if height >= 5 else [])}
    shares = {y: 1 - (4 * y + (0 if y == 0 else 3 if y == height - 1 else 1.5)) / max(1, 4 * height - 1) for y in rows}
    digits = 3 - math.floor(math.log10(scale.high - scale.low)) if scale.high > scale.low else 4
    pattern = f".{max(0, digits)}f" if digits <= MAX_DIGITS else ".0e"
    return {y: pad(format(scale.value(share), pattern), LABEL_WIDTH, right=True) for y, share in shares.items()}


def _step_axis(steps: tuple[int, int], width: int) -> Line:
    first, last = (f"{step:,}".replace(",", " ") for step in steps)
    text = last if first == last else first + last.rjust(width - len(first))
    return (Span(" " * (LABEL_WIDTH + 1) + text, "muted"),) if text else EMPTY

"""A chart of curves as inline SVG, without any library: axes, ticks, legend, shaded stretches, marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from service.run.records.report.texts import Texts
from service.run.records.report.ticks import linear_ticks, log_ticks, tick_text

WIDTH, HEIGHT = 960, 260
LEFT, RIGHT, TOP, BOTTOM = 92, 20, 10, 26
MAX_MARKS = 60


@dataclass(frozen=True)
class Curve:
    """A curve of known points. `colour` is the number of a colour of the page."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int


@dataclass(frozen=True)
class Band:
    """A shaded stretch of the horizontal axis, and what it is."""

    first: float
    last: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A dashed line at one place of the horizontal axis, and what happened there."""

    at: float
    text: str


class Scale:
    """The way from values to pixels along one axis."""

    def __init__(self, low: float, high: float, first: float, last: float, *, is_log: bool = False) -> None:
        """Map `low` to the pixel `first`, and `high` to `last`."""
        self._is_log = is_log
        self.low, self.high = (low, high) if high > low else (low - 0.5, high + 0.5)
        self._first = first
        start, end = self._inner(self.low), self._inner(self.high)
        self._factor = (last - first) / (end - start)
        self._start = start

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return self._first + (self._inner(value) - self._start) * self._factor

    def ticks(self) -> list[float]:
        """Return the round numbers within."""
        return log_ticks(self.low, self.high) if self._is_log else linear_ticks(self.low, self.high)

    def _inner(self, value: float) -> float:
        return math.log10(value) if self._is_log else value


def chart(
    title: str, curves: Sequence[Curve], texts: Texts, *, ends: tuple[float, float], is_log: bool = False,
    bands: Sequence[Band] = (), marks: Sequence[Mark] = (),
) -> str:  # fmt: skip
    """Return a figure with a legend and the SVG of all curves between the `ends` of the horizontal axis."""
    values = [value for curve in curves for value in curve.y]
    if not values:
        return ""
    is_log = is_log and min(values) > 0
    x = Scale(*ends, LEFT, WIDTH - RIGHT)
    y = Scale(*_with_margin(min(values), max(values), is_log=is_log), HEIGHT - BOTTOM, TOP, is_log=is_log)
    parts = [
        *(_band(x, band) for band in bands), *_grid(x, y, texts), *(_mark(x, mark) for mark in marks[-MAX_MARKS:]),
        *(_line(x, y, curve) for curve in curves),
    ]  # fmt: skip
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}{_legend(curves, bands)}</figcaption>{svg}</figure>"


def _with_margin(low: float, high: float, *, is_log: bool) -> tuple[float, float]:
    if is_log:
        return low / 1.1, high * 1.1
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _grid(x: Scale, y: Scale, texts: Texts) -> list[str]:
    lines = [
        f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_tick(tick, texts)}</text>'
        for tick in y.ticks()
    ]
    columns = [
        f'<path class="grid" d="M{x(tick):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{_tick(tick, texts)}</text>'
        for tick in x.ticks()
    ]
    return lines + columns


def _tick(value: float, texts: Texts) -> str:
    return texts.decimals(tick_text(value))


def _line(x: Scale, y: Scale, curve: Curve) -> str:
    points = [f"{x(at):.1f} {y(value):.1f}" for at, value in zip(curve.x, curve.y, strict=True)]
    if len(points) == 1:
        at, value = points[0].split()
        return f'<circle class="c{curve.colour} dot" cx="{at}" cy="{value}" r="3"/>'
    title = f"<title>{escape(curve.label)}</title>"
    return f'<path class="c{curve.colour} line" d="M{"L".join(points)}">{title}</path>' if points else ""


def _band(x: Scale, band: Band) -> str:
    first, last = x(band.first), x(band.last)
    width = max(last - first, 1)
    title = f"<title>{escape(band.label)}</title>"
    return (
        f'<rect class="band {escape(band.label)}" x="{first:.1f}" y="{TOP}" width="{width:.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}">{title}</rect>'
    )


def _mark(x: Scale, mark: Mark) -> str:
    if not x.low <= mark.at <= x.high:
        return ""
    return f'<path class="mark" d="M{x(mark.at):.1f} {TOP}V{HEIGHT - BOTTOM}"><title>{escape(mark.text)}</title></path>'


def _legend(curves: Sequence[Curve], bands: Sequence[Band]) -> str:
    keys = [f'<span class="key c{curve.colour}">{escape(curve.label)}</span>' for curve in curves]
    shades = dict.fromkeys(band.label for band in bands)
    keys += [f'<span class="key shade {escape(label)}">{escape(label.replace("_", " "))}</span>' for label in shades]
    return f'<span class="legend">{"".join(keys)}</span>'

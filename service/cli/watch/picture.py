"""The whole picture of a run in any size of terminal, as lines: a pure function of the view, the size and the time."""

from collections.abc import Sequence

from service.cli.watch import measures, panels
from service.cli.watch.spans import EMPTY, Line, Span, cut, fitted, line, width_of
from service.cli.watch.view import RunView

GAP = 2
NARROW = 64
"""Below this width, parts lie above each other instead of side by side."""
MIN_CHARTS, MIN_MIDDLE, MIN_JOURNAL = 7, 5, 4

HELP: tuple[tuple[str, str], ...] = (
    ("v", "validate now and save a record"),
    ("p", "pause the training, or go on"),
    ("c", "save a checkpoint now"),
    ("s", "stop: finish the step, save, end the training (asks first)"),
    ("w", "why: write down a reason, which goes with the next command"),
    ("↑ ↓", "look further back in the journal"),
    ("q", "close this view; the training goes on"),
    ("?", "show or close this help"),
)
WATCH_ONLY_HELP = HELP[5:]
STOP_QUESTION = (
    (" ", "Stop the training? It finishes the step, saves and ends;"),
    (" ", "`leitstand up` goes on from there."),
    ("y", "stop it"),
    ("n", "let it go on"),
)


def picture(view: RunView, width: int, height: int, now: float, back: int = 0) -> list[Line]:
    """Return `height` lines of `width` columns; the journal ends `back` entries before the newest."""
    top = panels.header(view, width, now)
    body = height - len(top) - 1
    charts, middle = _heights(body, is_narrow=width < NARROW)
    rows = [
        *top,
        *_charts(view, width, charts, now),
        *_middle(view, width, middle, now),
        *panels.journal(view, width, max(0, body - charts - middle), now, back),
    ]
    rows = [fitted(row, width) for row in rows]
    return [*rows[: height - 1], *panels.footer(view, width, now)][-height:]


def overlaid(rows: Sequence[Line], text: Sequence[tuple[str, str]], title: str, width: int) -> list[Line]:
    """Return the rows with a box in their middle: a title, and (key, meaning) lines."""
    inner = min(width - 4, max(len(title), *(len(meaning) + 6 for _, meaning in text)) + 2)
    keys = [line((f" {key:<4}", "key"), f" {meaning}") for key, meaning in text]
    box = [_edge("╭", "╮", inner, title), *(_framed(entry, inner) for entry in keys), _edge("╰", "╯", inner)]
    first, left = max(0, (len(rows) - len(box)) // 2), (width - inner - 2) // 2
    changed = list(rows)
    for at, entry in enumerate(box[: len(rows)]):
        under = rows[first + at]
        changed[first + at] = (*cut(under, 0, left), *entry, *cut(under, left + inner + 2, width))
    return changed


def _heights(body: int, *, is_narrow: bool) -> tuple[int, int]:
    """Return the heights of charts and middle; the journal has the rest."""
    if body < MIN_CHARTS + MIN_JOURNAL:
        return 0, 0
    if body < MIN_CHARTS + MIN_MIDDLE + MIN_JOURNAL:
        return body - MIN_JOURNAL, 0
    middle = max(MIN_MIDDLE, round(body * 0.30))
    charts = max(MIN_CHARTS, min(round(body * 0.42), body - middle - MIN_JOURNAL))
    return (charts, 0) if is_narrow and body < 24 else (charts, middle)


def _charts(view: RunView, width: int, height: int, now: float) -> list[Line]:
    if not height:
        return []
    if width >= NARROW:
        left, right = split(width, (1, 1))
        return beside([measures.loss(view, left, height, now), measures.quality(view, right, height, now)])
    if height < 2 * MIN_CHARTS:
        return measures.quality(view, width, height, now)
    upper = height // 2
    return [*measures.loss(view, width, upper, now), *measures.quality(view, width, height - upper, now)]


def _middle(view: RunView, width: int, height: int, now: float) -> list[Line]:
    if not height:
        return []
    if width < NARROW:
        return measures.ranks(view, width, height, now)
    parts = split(width, (32, 24, 20) if width < 120 else (5, 3, 3))
    draw = (measures.ranks, measures.adaptive, measures.layers)
    return beside([part(view, size, height, now) for part, size in zip(draw, parts, strict=True)])


def split(width: int, shares: Sequence[int]) -> list[int]:
    """Return the widths of parts beside each other that fill `width` with gaps between them."""
    room = width - GAP * (len(shares) - 1)
    widths = [room * share // sum(shares) for share in shares]
    return [*widths[:-1], room - sum(widths[:-1])]


def beside(parts: Sequence[Sequence[Line]]) -> list[Line]:
    """Return parts of equal height, whose lines have full width, side by side."""
    gap = Span(" " * GAP)
    return [
        tuple(span for at, row in enumerate(rows) for span in ((gap, *row) if at else row))
        for rows in zip(*parts, strict=True)
    ]


def _framed(entry: Line, inner: int) -> Line:
    return Span("│", "accent"), *fitted(entry, inner), Span("│", "accent")


def _edge(left: str, right: str, inner: int, title: str = "") -> Line:
    name = line((f" {title} ", "strong")) if title else EMPTY
    return Span(f"{left}─", "accent"), *name, Span("─" * (inner - 1 - width_of(name)) + right, "accent")

"""The curves of a report: a chart for each group of values, and the map of the layers."""

import base64
from collections.abc import Sequence
from html import escape

from service.run.records.curves.axis import thinned
from service.run.records.curves.columns import RunColumns
from service.run.records.curves.panels import ACTIVITY, LABELS, PANELS, Panel
from service.run.records.report.chart import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Band, Curve, Mark, chart
from service.run.records.report.contents import Contents
from service.run.records.report.heat_map import heat_map
from service.run.records.report.texts import Texts

MAX_POINTS = 500
USUAL = frozenset({"cosine", "Stable"})
"""The phase and the mode that are not shaded."""
ROW_PIXELS = 9
MAX_NAMED_ROWS = 60


def charts(contents: Contents, texts: Texts) -> str:
    """Return all charts of a run that has records."""
    marks = [
        Mark(entry.step, f"{entry.kind}: {entry.text}")
        for entry in contents.log
        if entry.is_intervention and entry.step is not None
    ]
    parts = [_chart(panel, contents.columns, marks, texts) for panel in PANELS if panel.name != ACTIVITY]
    return "\n".join([*filter(None, parts), _activity(contents.columns, texts)])


def _chart(panel: Panel, columns: RunColumns, marks: Sequence[Mark], texts: Texts) -> str:
    curves = [
        Curve(texts(LABELS[key]), *thinned(columns.steps, columns.numbers[key], MAX_POINTS), colour)
        for colour, key in enumerate(panel.keys)
        if columns.has(key)
    ]
    return chart(
        texts(panel.name), curves, texts, ends=(columns.steps[0], columns.steps[-1]), is_log=panel.is_log,
        bands=_bands(columns, panel.stretches), marks=marks,
    )  # fmt: skip


def _bands(columns: RunColumns, key: str | None) -> list[Band]:
    if key is None:
        return []
    return [
        Band(columns.steps[first], columns.steps[last], text)
        for first, last, text in columns.stretches(key)
        if text not in USUAL
    ]


def _activity(columns: RunColumns, texts: Texts) -> str:
    """Return the map of the layers: a row for each, from left to right as in the charts above."""
    rows = {} if columns.activity is None else columns.activity.rows()
    if not rows:
        return ""
    names = list(rows)
    every = -(-len(names) // MAX_NAMED_ROWS)
    height = TOP + ROW_PIXELS * len(names) + BOTTOM
    labels = "".join(
        f'<text class="layer" x="{LEFT - 6}" y="{TOP + ROW_PIXELS * row + 7.5}" text-anchor="end">'
        f"{escape(name.replace('_', ' '))}</text>"
        for row, name in list(enumerate(names))[::every]
    )
    encoded = base64.b64encode(heat_map(list(rows.values()))).decode()
    image = (
        f'<image x="{LEFT}" y="{TOP}" width="{WIDTH - RIGHT - LEFT}" height="{ROW_PIXELS * len(names)}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{encoded}"/>'
    )
    ends = (
        f'<text class="tick" x="{LEFT}" y="{height - 8}">{columns.steps[0]}</text>'
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 8}" text-anchor="end">{columns.steps[-1]}</text>'
    )
    title = escape(texts("activity"))
    svg = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">{image}{labels}{ends}</svg>'
    scale = '<span class="legend"><span class="ramp"></span>0 … 100 %</span>'
    return f"<figure><figcaption>{title}{scale}</figcaption>{svg}</figure>"

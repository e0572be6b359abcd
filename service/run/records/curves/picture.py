"""Curves of one or several runs as a picture, drawn by matplotlib, which is imported only here."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import IO, Any, Literal

from service.run.records.curves.axis import Axis, positions, thinned, unit_of
from service.run.records.curves.columns import RunColumns
from service.run.records.curves.panels import ACTIVITY, LABELS, Panel

Style = Literal["screen", "paper"]
FORMATS = ("png", "svg", "pdf")
MAX_POINTS = 4000
"""Of one curve: more are reduced to lowest and highest values, which look the same."""

X_LABELS: dict[Axis, str] = {"step": "step", "samples": "training samples", "time": "{} of training"}
Y_LABELS = {"quality": "quality", "losses": "loss", "lr": "learning rate", "weights": "weight", ACTIVITY: "layer"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which people who see colours otherwise can tell apart."""
DASHES = ("-", ":", "--", "-.")
SHADES = {
    "warmup": "#999999", "plateau_boost": "#e69f00", "manual": "#cc79a7",
    "Warmup": "#999999", "Settling": "#56b4e9", "Aggressive": "#e69f00",
}  # fmt: skip
"""Colours behind curves of phases and modes; the usual ones, `cosine` and `Stable`, have none."""

_COMMON = {"svg.fonttype": "none", "svg.hashsalt": "leitstand", "pdf.fonttype": 42, "axes.axisbelow": True}
_STYLES: dict[Style, dict[str, Any]] = {
    "screen": {"font.size": 10, "lines.linewidth": 1.4, "axes.grid": True, "grid.alpha": 0.25, "savefig.dpi": 110},
    "paper": {
        "font.size": 8, "font.family": "serif", "lines.linewidth": 1.0, "axes.linewidth": 0.6, "savefig.dpi": 300,
        "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    },
}  # fmt: skip
_WIDTH: dict[Style, float] = {"screen": 10.0, "paper": 3.4}
_HEIGHT: dict[Style, float] = {"screen": 2.6, "paper": 1.8}
"""Inches of the picture's width, and of each panel's height; 3.4 is a column of a paper with two."""
_KEY_WIDTH: dict[Style, float] = {"screen": 0.085, "paper": 0.055}
_KEY_HEIGHT: dict[Style, float] = {"screen": 0.2, "paper": 0.14}
"""Inches of a character in a legend, and of one of its rows."""
_KEY_SIGN_CHARACTERS = 6
"""How many characters the sign before a name in a legend, and the gap behind it, are wide."""


class NoMatplotlibError(Exception):
    """Matplotlib is not installed."""


@dataclass(frozen=True)
class PictureOptions:
    """What to draw, over which axis, and how."""

    panels: Sequence[Panel]
    axis: Axis = "step"
    style: Style = "screen"


def draw(runs: Sequence[RunColumns], options: PictureOptions, file: IO[bytes] | Path, file_format: str) -> None:
    """Draw the curves of `runs` into a file.

    Raises `NoMatplotlibError`, `MissingAxisError` if a run has no values for the axis, or `OSError`.
    """
    try:
        matplotlib = import_module("matplotlib")
        new_figure = import_module("matplotlib.figure").Figure
    except ImportError:
        raise NoMatplotlibError from None
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_COMMON, **_STYLES[options.style]}):
        figure = _figure(new_figure, runs, options)
        figure.savefig(file, format=file_format, metadata=metadata, bbox_inches="tight")


def _figure(new_figure: Callable[..., Any], runs: Sequence[RunColumns], options: PictureOptions) -> Any:
    """Return a figure with the panels below each other; of the activity map one for each run."""
    rows = [(panel, run) for panel in options.panels for run in (runs if panel.name == ACTIVITY else (None,))]
    height = 0.4 + _HEIGHT[options.style] * len(rows)
    figure = new_figure(figsize=(_WIDTH[options.style], height), layout="constrained")
    all_axes = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    at, x_label = _places(runs, options.axis)
    for axes, (panel, run) in zip(all_axes, rows, strict=True):
        if run is not None:
            title = f"{Y_LABELS[ACTIVITY]}s of {_plain(run.label)}" if len(runs) > 1 else Y_LABELS[ACTIVITY]
            _draw_activity(figure, axes, run, at[runs.index(run)], title)
        else:
            _draw_panel(axes, panel, runs, at)
            height += _add_legend(axes, options.style)
        axes.margins(x=0)
    figure.set_figheight(height)
    all_axes[-1].set_xlabel(x_label)
    return figure


def _places(runs: Sequence[RunColumns], axis: Axis) -> tuple[list[Sequence[float]], str]:
    """Return where the records of each run lie on the axis, and the axis's label; raises `MissingAxisError`."""
    at = [positions(run, axis) for run in runs]
    if axis != "time":
        return at, X_LABELS[axis]
    unit, seconds = unit_of(3600 * max((hours for one in at for hours in one if hours == hours), default=0.0))
    return [[3600 * hours / seconds for hours in one] for one in at], X_LABELS[axis].format(unit)


def _add_legend(axes: Any, style: Style) -> float:
    """Add a legend above the curves, of which it hides none; return by how many inches the picture grows."""
    _, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return 0.0
    width = _KEY_WIDTH[style] * (_KEY_SIGN_CHARACTERS + max(map(len, labels)))
    columns = min(len(labels), max(1, int(0.85 * _WIDTH[style] / width)))
    axes.legend(
        fontsize="small", ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2
    )
    return _KEY_HEIGHT[style] * math.ceil(len(labels) / columns)


def _draw_panel(axes: Any, panel: Panel, runs: Sequence[RunColumns], at: Sequence[Sequence[float]]) -> None:
    for run_index, key_index, key in _curves(panel, runs):
        colour, dash = (run_index, key_index) if len(runs) > 1 else (key_index, 0)
        x, y = thinned(at[run_index], runs[run_index].numbers[key], MAX_POINTS)
        label = f"{_plain(runs[run_index].label)}: {LABELS[key]}" if len(runs) > 1 else LABELS[key]
        axes.plot(
            x, y, label=label, color=COLOURS[colour % len(COLOURS)], linestyle=DASHES[dash % len(DASHES)],
            marker="." if len(x) == 1 else None,
        )  # fmt: skip
        if panel.is_log and y and min(y) > 0:
            axes.set_yscale("log")
    if panel.stretches and len(runs) == 1:
        _shade(axes, runs[0].stretches(panel.stretches), at[0])
    axes.set_ylabel(Y_LABELS[panel.name])
    if panel.name == "lr":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _plain(label: str) -> str:
    """Return a run's label as matplotlib shows it: a dollar would begin a formula, a low line hide the curve."""
    text = label.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _curves(panel: Panel, runs: Sequence[RunColumns]) -> Iterator[tuple[int, int, str]]:
    """Yield the index of the run, that of the key, and the key of each curve that has a number."""
    keys = panel.keys if len(runs) == 1 else panel.overlaid
    return (
        (run_index, key_index, key)
        for run_index, (key_index, key) in product(range(len(runs)), enumerate(keys))
        if runs[run_index].has(key)
    )


def _shade(axes: Any, stretches: Sequence[tuple[int, int, str]], at: Sequence[float]) -> None:
    """Shade stretches of records with the same phase or mode, each in its colour; the usual ones stay white."""
    shown: set[str] = set()
    for first, last, text in stretches:
        if text in SHADES:
            label = None if text in shown else text.replace("_", " ")
            axes.axvspan(at[first], at[last], facecolor=SHADES[text], alpha=0.25, linewidth=0, zorder=0, label=label)
            shown.add(text)


def _draw_activity(figure: Any, axes: Any, run: RunColumns, at: Sequence[float], title: str) -> None:
    rows = {} if run.activity is None else run.activity.rows()
    axes.set_ylabel(title)
    axes.grid(visible=False)
    if not rows or not at:
        axes.set_yticks([])
        return
    values = [[float("nan") if value is None else value for value in row] for row in rows.values()]
    edges = _edges(at, len(values[0]))
    image = axes.pcolormesh(
        edges, [row - 0.5 for row in range(len(rows) + 1)], values, cmap="viridis", vmin=0, vmax=100, rasterized=True
    )  # fmt: skip
    axes.invert_yaxis()
    every = max(1, len(rows) // 12)
    axes.set_yticks(range(0, len(rows), every), [name.replace("_", " ") for name in list(rows)[::every]])
    axes.tick_params(axis="y", labelsize="xx-small")
    figure.colorbar(image, ax=axes, label="% of strongest", pad=0.01)


def _edges(at: Sequence[float], count: int) -> list[float]:
    """Return the positions between which each of `count` columns lies, given those of all records.

    Each ends where its last record lies: what a record says of the layers is measured before it.
    """
    ends = [at[(index + 1) * len(at) // count - 1] for index in range(count)]
    if count == 1 and ends[0] > 0:
        return [0.0, ends[0]]
    if any(map(math.isnan, ends)) or ends[-1] <= ends[0]:
        return [float(index) for index in range(count + 1)]
    return [max(min(0.0, ends[0]), ends[0] - (ends[-1] - ends[0]) / (count - 1)), *ends]

"""The measured part of the picture as lines of text: charts, ranks, the adaptive controller, layers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.api_types import RankEntry
from service.cli.text_table import MISSING, number
from service.cli.watch.curves import chart
from service.cli.watch.panels import titled
from service.cli.watch.spans import EMPTY, Line, bar, columns_chart, line, pad
from service.cli.watch.view import LOSS, QUALITY_KI, QUALITY_LR, VALIDATION_LOSS, Curve, RunView
from service.loss_terms import LOSS_TERMS

SILENT_SECONDS = 10.0
"""A rank that has not reported for so long is marked."""
NOT_YET = "nothing measured yet"


def loss(view: RunView, width: int, height: int, _now: float) -> list[Line]:
    """Return the chart of the losses of training and validation."""
    training, validation = (view.curves.get(name, Curve()) for name in (LOSS, VALIDATION_LOSS))
    names = ("training", "validation") if width >= 46 else ("train", "val")
    legend = [(names[0], training, "loss", ".4g"), (names[1], validation, "val", ".4g")]
    curves = [(training, "loss", "loss faint"), (validation, "val", "val faint")]
    return _chart_panel("Loss", legend, curves, (width, height), may_be_log=True)


def quality(view: RunView, width: int, height: int, _now: float) -> list[Line]:
    """Return the chart of the quality of the network's output and of the enlarged input."""
    ki, lr = (view.curves.get(name, Curve()) for name in (QUALITY_KI, QUALITY_LR))
    legend = [("KI", ki, "ki", ".4f"), ("LR", lr, "lr", ".4f")]
    return _chart_panel("Quality", legend, [(lr, "lr", "lr faint"), (ki, "ki", "ki faint")], (width, height))


def _chart_panel(
    name: str,
    legend: Sequence[tuple[str, Curve, str, str]],
    curves: Sequence[tuple[Curve, str, str]],
    size: tuple[int, int],
    *,
    may_be_log: bool = False,
) -> list[Line]:
    width, height = size
    values = [(f"  {label} {number(curve.last, pattern)}", tone) for label, curve, tone, pattern in legend]
    body = chart([entry for entry in curves if entry[0].stretches], width, height - 1, may_be_log=may_be_log)
    if not body:
        body = [EMPTY] * ((height - 2) // 2) + [line((pad(NOT_YET, (width + 20) // 2, right=True), "muted"))]
    return titled(name, values, body, width, height)


def ranks(view: RunView, width: int, height: int, _now: float) -> list[Line]:
    """Return what every rank does, with its own seconds per step and those in which it waits for others."""
    state = view.state or {}
    timings = {row["rank"]: row for row in state.get("per_rank") or []}
    slow = state.get("slow_rank")
    entries = sorted(view.ranks, key=lambda entry: (entry["rank"] != slow, entry["rank"]))
    shown = entries if len(entries) <= height - 2 else entries[: height - 3]
    device = max((len(_device(entry)) for entry in shown), default=0) + 1
    device = device if width >= 40 + device else 0
    heading = f" {'':<3}{'device'[:device]:<{device}}{'stage':<11}{'for':>4}{'own':>6}{'wait':>6}"
    rows = [_rank_line(entry, timings.get(entry["rank"], {}), slow, device) for entry in shown]
    if len(shown) < len(entries):
        rows.append(line((f" and {len(entries) - len(shown)} more: `leitstand ranks`", "muted")))
    body = [line((heading, "muted")), *rows] if entries else [line((" no rank has reported yet", "muted"))]
    notes = [(f"  {len(entries)}" if entries else "", "muted"), ("" if slow is None else f"  {slow} is slow", "warn")]
    return titled("Ranks", notes, body, width, height)


def _device(entry: RankEntry) -> str:
    return " ".join(text for text in (entry["host"], entry["device"]) if text)


def _rank_line(entry: RankEntry, timing: Mapping[str, Any], slow: int | None, device: int) -> Line:
    own, step = timing.get("own_duration"), timing.get("step_duration")
    wait = None if own is None or step is None else max(0.0, step - own)
    is_slow, is_silent = entry["rank"] == slow, entry["age_seconds"] > SILENT_SECONDS
    mark = " slow" if is_slow else f" silent for {brief(entry['age_seconds'])}" if is_silent else ""
    tone = "warn" if is_slow else "bad" if is_silent else "text"
    place = f"{'▸' if mark else ' '}{entry['rank']:<3}{pad(_device(entry), device - 1) + ' ' if device else ''}"
    seconds = f"{brief(entry['stage_seconds']):>4}{number(own, '.3f'):>6}{number(wait, '.3f'):>6}"
    return line((f"{place}{pad(entry['stage'], 11)}{seconds}{mark}", tone))


def adaptive(view: RunView, width: int, height: int, _now: float) -> list[Line]:
    """Return the state of the adaptive controller: mode, weights, clip, learning rate, plateau."""
    value = (view.state or {}).get
    if value("adaptive_mode") is None:
        return titled("Adaptive", [], [line((f" {NOT_YET}", "muted"))], width, height)
    weights = [(term.title, value(term.weight_key)) for term in LOSS_TERMS]
    boost = "boost" if value("adaptive_lr_boost_available") else "no boost"
    pairs = [
        ("rate", f"{number(value('learning_rate_value'), '.3g')} {value('lr_phase_name') or ''}"),
        ("clip", f"{number(value('gradient_clip_val'), '.3g')}, norm {number(value('grad_norm'), '.3g')}"),
        ("plateau", f"{value('adaptive_plateau_counter')}, {boost}"),
        ("skipped", f"{value('skipped_steps') or 0} steps"),
    ]
    rows = [line((f" {name:<7} ", "muted"), text) for name, text in pairs]
    return titled("Adaptive", [_mode(value)], [*_weight_lines(weights, width, height - 5), *rows], width, height)


def _mode(value: Callable[[str], Any]) -> tuple[str, str]:
    rest = value("adaptive_cooldown_remaining") if value("adaptive_is_cooldown") else 0
    return f"  {value('adaptive_mode')}{f', waits {rest} steps' if rest else ''}", "accent"


def _weight_lines(weights: Sequence[tuple[str, float | None]], width: int, room: int) -> list[Line]:
    """Return a line with a bar for each weight where there is room, and else one line for all."""
    if room < len(weights):
        texts = " ".join(f"{weight or 0:.2f}".removeprefix("0") for _, weight in weights)
        return [line((f" {'weights':<7} ", "muted"), texts)]
    size = max(4, width - 20)
    return [
        line((f" {name:<12}", "muted"), f"{weight or 0:.2f} ", (bar(weight or 0, size), "bar"))
        for name, weight in weights
    ]


def layers(view: RunView, width: int, height: int, _now: float) -> list[Line]:
    """Return the activity of every layer against the strongest: a bar each, or a column each where there are many."""
    activity = (view.state or {}).get("layer_activity_map") or {}
    known = {name: value for name, value in activity.items() if value is not None}
    if not known:
        return titled("Layers", [], [line((f" {NOT_YET}", "muted"))], width, height)
    note = f"  {len(known)}"
    if len(known) <= height - 1:
        size = min(max(len(name) for name in known), max(6, width - 10))
        room = max(1, width - size - 7)
        body = [
            line((f" {shortened(name, size):<{size}} ", "muted"), (bar(value / 100, room), "bar"), f"{value:>4.0f} ")
            for name, value in known.items()
        ]
        return titled("Layers", [(note, "muted")], body, width, height)
    shares = _gathered([value / 100 for value in known.values()], width - 1)
    body = [line((f" {row}", "layer")) for row in columns_chart(shares, max(1, height - 2))]
    weakest = min(known, key=lambda name: known[name])
    body.append(line((" least ", "muted"), f"{shortened(weakest, max(4, width - 11))} {known[weakest]:.0f}"))
    return titled("Layers", [(note, "muted")], body, width, height)


def _gathered(shares: Sequence[float], width: int) -> list[float]:
    """Return at most `width` values: neighbours share a column as their mean."""
    count = min(width, len(shares))
    pieces = [shares[len(shares) * at // count : len(shares) * (at + 1) // count] for at in range(count)]
    return [sum(piece) / len(piece) for piece in pieces]


def shortened(name: str, size: int) -> str:
    """Return a name in at most `size` characters; its middle is left out, because numbers are at its end."""
    if len(name) <= size:
        return name
    tail = (size - 1) // 2
    return f"{name[: size - 1 - tail]}…{name[len(name) - tail :]}"


def brief(seconds: float | None) -> str:
    """Return a duration in at most four columns."""
    if seconds is None:
        return MISSING
    if seconds < 100:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{seconds / 3600:.0f}h"

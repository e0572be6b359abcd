"""The frame of the picture as lines of text: header, journal, keys. Pure functions of the view, a size and the time."""

import time
from collections.abc import Sequence

from service.cli.text_table import MISSING, number
from service.cli.watch import phrases
from service.cli.watch.journal import Entry
from service.cli.watch.spans import EMPTY, Line, Span, bar, fitted, line, spread, wrapped
from service.cli.watch.view import RunView
from service.run.state import RunState

DAY_SECONDS = 24 * 3600.0
MAX_ADVICE_LINES, MAX_ENTRY_LINES = 3, 2


def header(view: RunView, width: int, now: float) -> list[Line]:
    """Return four lines or more: run and age of the data; state and alerts; progress; what to do, or the pace."""
    link, link_tone = phrases.link_words(view, now)
    run = "" if view.state is None else f"run {view.state['run_id']}"
    name, tone = phrases.state_words(view, now)
    state: Line = (Span(f" {name} ", f"badge {tone}"), Span(" "), *line((phrases.since_words(view, now), "text")))
    advice, advice_tone = phrases.advice(view, now)
    rows = [line((f" {text}", advice_tone)) for text in wrapped(advice, width - 2, MAX_ADVICE_LINES) if text]
    return [
        spread(line((" Leitstand ", "title"), " ", (run, "muted")), line((link, link_tone), " "), width),
        spread(state, _alerts(view, now), width),
        _progress(view, width, now),
        *(fitted(row, width) for row in rows or [line(" ", (_pace(view), "muted"))]),
    ]


def _alerts(view: RunView, now: float) -> Line:
    if view.alerts is None or view.state is None or not view.is_current(now):
        return EMPTY
    count = len(view.alerts)
    names = ", ".join(sorted({alert["name"] for alert in view.alerts}))
    text = f"{count} alert{'s' if count > 1 else ''}: {names}" if count else "no alert"
    return line((text, "bad" if count else "muted"), " ")


def _progress(view: RunView, width: int, now: float) -> Line:
    state = view.state
    if state is None:
        return fitted(EMPTY, width)
    total = state.get("step_max")
    step = f"step {grouped(view.step)}{'' if total is None else f' of {grouped(total)}'}"
    finish = phrases.finish_words(state, now) if view.is_current(now) else ""
    left = line(" ", (step, "strong"), "  ")
    right = line("  ", (f"{100 * view.step / total:.1f} %" if total else "", "text"), ("  " + finish, "muted"), " ")
    room = width - sum(len(span.text) for span in (*left, *right))
    if not total or room < 6:
        return spread(left, right, width)
    return fitted((*left, Span(bar(view.step / total, room), "bar progress"), *right), width)


def _pace(view: RunView) -> str:
    value = (view.state or {}).get
    if value("iteration_duration") is None:
        return ""
    parts = [
        f"{number(value('iteration_duration'), '.3f')} s a step",
        f"{number(value('samples_per_second'), '.1f')} samples/s",
        f"{value('world_size') or MISSING} rank{'' if value('world_size') == 1 else 's'}",
        f"epoch {value('epoch_num') or MISSING}",
        f"waiting for data {number(100 * (value('data_wait_ratio') or 0), '.0f')} %",
    ]
    return " · ".join(parts)


def journal(view: RunView, width: int, height: int, now: float, back: int = 0) -> list[Line]:
    """Return the newest entries, or those `back` entries before them."""
    entries = list(view.journal)
    end = len(entries) - min(back, max(0, len(entries) - 1))
    body: list[Line] = []
    for entry in reversed(entries[:end]):
        body[:0] = _entry_lines(entry, width, now)
        if len(body) >= height - 1:
            break
    if not body:
        body = [line((" nothing has happened since this view began", "muted"))]
    later = len(entries) - end
    notes = [(f"  {later} newer below" if later else "", "accent")]
    return titled("Journal", notes, body[max(0, len(body) - (height - 1)) :], width, height)


def _entry_lines(entry: Entry, width: int, now: float) -> list[Line]:
    texts = wrapped(entry.text, max(8, width - 12), MAX_ENTRY_LINES)
    times = [f" {moment_text(entry.time, now):<8}  ", *[" " * 11] * len(texts)]
    return [line((at, "muted"), (text, entry.tone)) for at, text in zip(times, texts, strict=False)]


def footer(view: RunView, width: int, now: float) -> list[Line]:
    """Return the keys that mean something now; those that act only if the token and the run allow it."""
    state = view.run_state
    keys = [("?", "help"), ("q", "quit this view")]
    if view.takes_commands(now):
        pause = "resume" if state is RunState.PAUSED else "pause"
        keys = [("v", "validate"), ("p", pause), ("c", "checkpoint"), ("s", "stop"), ("w", "why"), *keys]
    pieces = [piece for key, word in keys for piece in ((f" {key} ", "key"), (f"{word} ", "muted"))]
    note = "" if view.may_act else "this token may only watch "
    return [spread(line(*pieces), line((note, "muted")), width)]


def titled(name: str, notes: Sequence[tuple[str, str]], body: Sequence[Line], width: int, height: int) -> list[Line]:
    """Return a panel: its name and notes in a rule, and below it the body, cut or filled to `height` lines."""
    title = line(("─ ", "rule"), (name, "strong"), *notes, " ")
    room = width - sum(len(span.text) for span in title)
    rule = (*title, Span("─" * room, "rule")) if room > 0 else title
    rows = [fitted(row, width) for row in (*body, *[EMPTY] * height)][: height - 1]
    return [fitted(rule, width), *rows]


def moment_text(at: float, now: float) -> str:
    """Return the time of day of an entry, or the day where it is older than a day."""
    return time.strftime("%H:%M:%S" if now - at < DAY_SECONDS else "%b %d", time.localtime(at))


def grouped(value: int) -> str:
    """Return a whole number in groups of three digits."""
    return f"{value:,}".replace(",", " ")

"""The sections of a report beside its curves: figures, findings, pictures, history, settings, environment, records."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from service.run.records.curves.axis import unit_of
from service.run.records.curves.columns import training_seconds
from service.run.records.report.contents import Contents, LogEntry
from service.run.records.report.texts import Texts

MAX_LOG_ENTRIES = 400
MAX_ROWS = 250
DEFAULT = "default"


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], classes: str = "") -> str:
    """Return an HTML table; all texts are escaped."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    start = f"<thead><tr>{head}</tr></thead>" if any(headings) else ""
    return f'<div class="wide"><table class="{classes}">{start}<tbody>{body}</tbody></table></div>'


def figures(contents: Contents, texts: Texts) -> str:
    """Return the main figures of a run, as tiles."""
    columns, best, last = contents.columns, contents.best, contents.last
    trained_seconds = training_seconds(columns)[-1]
    tiles = [(texts("records"), f"{len(columns.steps):,}"), (texts("steps"), f"{columns.steps[-1]:,}")]
    if trained_seconds == trained_seconds:
        unit, size = unit_of(trained_seconds)
        tiles.append((texts(unit), texts.number(trained_seconds / size, ".1f")))
    if last is not None and last.values["samples_seen"] is not None:
        tiles.append((texts("samples"), f"{last.values['samples_seen']:,}"))
    if best is not None:
        values = best.values
        tiles += [
            (f"{texts('best')}, {texts('at_step')} {best.step}", texts.number(values["quality_ki_value"])),
            (texts("gain"), texts.number(values["quality_improvement_value"], "+.4f")),
            (texts("psnr"), f"{texts.number(values['psnr_ki_db'], '.2f')} dB"),
        ]
    if last is not None:
        tiles.append((texts("last"), texts.number(last.values["quality_ki_value"])))
    if contents.ledger is not None and contents.ledger.useful_time_ratio is not None:
        tiles.append((texts("useful_time"), f"{texts.number(100 * contents.ledger.useful_time_ratio, '.1f')} %"))
    tiles += [(texts("state"), contents.state)] if contents.state else []
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_grouped(value, texts))}</dd></div>" for name, value in tiles
    )
    return f'<dl class="tiles">{shown}</dl>'


def _grouped(value: str, texts: Texts) -> str:
    """Return a number with the thousands of the language."""
    is_grouped = value.replace(",", "").isdigit() and "," in value
    return value.replace(",", "." if texts.language == "de" else ",") if is_grouped else value


def findings(contents: Contents, texts: Texts) -> str:
    """Return what is remarkable, each with steps, evidence and what to do."""
    if not contents.findings:
        return f"<p>{escape(texts('no_findings'))}</p>"
    rows = (
        (texts(finding.kind), _steps(finding.first_step, finding.last_step), texts.evidence(finding),
         finding.advice_in(texts.language))
        for finding in contents.findings
    )  # fmt: skip
    return table((texts("kind"), texts("step"), texts("what"), texts("advice")), rows, "text findings")


def _steps(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} – {last}"


def previews(contents: Contents, texts: Texts) -> str:
    """Return the pictures of some validations."""
    if not contents.previews:
        return f"<p>{escape(texts('no_previews'))}</p>"
    parts = [f"<p>{escape(texts('lr_ki_gt'))}</p>"]
    for step, pictures in contents.previews.items():
        parts.append(f'<h3>{escape(texts("step"))} {step}</h3><div class="previews">')
        for picture in pictures:
            encoded = base64.b64encode(picture.content).decode()
            parts.append(
                f'<figure class="preview"><img alt="{escape(picture.name)}" loading="lazy" '
                f'src="data:image/webp;base64,{encoded}"><figcaption>{escape(picture.name)}</figcaption></figure>'
            )
        parts.append("</div>")
    return "".join(parts)


def interventions(contents: Contents, texts: Texts) -> str:
    """Return commands, live settings and rollbacks."""
    entries = [entry for entry in contents.log if entry.is_intervention]
    return _log(entries, texts) if entries else f"<p>{escape(texts('no_interventions'))}</p>"


def events(contents: Contents, texts: Texts) -> str:
    """Return all that happened to the run, folded."""
    entries = [entry for entry in contents.log if not entry.is_intervention]
    if not entries:
        return f"<p>{escape(texts('no_events'))}</p>"
    return f"<details><summary>{len(entries)}</summary>{_log(entries, texts)}</details>"


def _log(entries: Sequence[LogEntry], texts: Texts) -> str:
    rows = (
        (texts.moment(entry.time), "" if entry.step is None else entry.step, entry.kind, entry.text)
        for entry in entries[-MAX_LOG_ENTRIES:]
    )
    left_out = len(entries) - MAX_LOG_ENTRIES
    more = f"<p>{escape(texts('left_out', count=left_out))}</p>" if left_out > 0 else ""
    return table((texts("time"), texts("step"), texts("kind"), texts("what")), rows, "text") + more


def settings(contents: Contents, texts: Texts) -> str:
    """Return the effective settings, those at their defaults folded."""
    if not contents.settings:
        return f"<p>{escape(texts('no_settings'))}</p>"
    changed = [row for row in contents.settings if row[2] != DEFAULT]
    others = [row[:2] for row in contents.settings if row[2] == DEFAULT]
    headings = (texts("setting"), texts("value"), texts("origin"))
    return (
        f"<h3>{escape(texts('changed'))}</h3>{table(headings, changed)}"
        f"<details><summary>{escape(texts('defaults'))}</summary>{table(headings[:2], others)}</details>"
    )


def environment(contents: Contents, texts: Texts) -> str:
    """Return where the run ran."""
    return table(("", ""), ((texts(name), value) for name, value in contents.environment), "text")


def records(contents: Contents, texts: Texts) -> str:
    """Return the main values of the records, of many only every so many."""
    columns = contents.columns
    every = -(-len(columns.steps) // MAX_ROWS)
    keys = ("quality_ki_value", "quality_lr_value", "psnr_ki_db", "validation_loss_value", "learning_rate_value")
    patterns = (".4f", ".4f", ".2f", ".5f", ".3g")
    rows = [
        (
            columns.steps[index],
            *(texts.number(columns.numbers[key][index], pattern) for key, pattern in zip(keys, patterns, strict=True)),
        )
        for index in range(0, len(columns.steps), every)
    ]
    headings = (texts("step"), "KI", "LR", "PSNR KI", texts("validation_loss"), texts("learning_rate"))
    note = f"<p>{escape(texts('thinned', count=every))}</p>" if every > 1 else ""
    return f"<details><summary>{len(rows)}</summary>{note}{table(headings, rows, 'numbers')}</details>"


def unreadable(contents: Contents, texts: Texts) -> str:
    """Return the files that could not be used; nothing if there are none."""
    if not contents.unreadable:
        return ""
    return f"<h2>{escape(texts('unreadable'))}</h2>{table(('', ''), contents.unreadable, 'text')}"

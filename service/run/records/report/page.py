"""The whole page of a report: one file that needs nothing else, and may load nothing else."""

from html import escape

from service.run.records.findings.texts import Language
from service.run.records.report import ledger, sections
from service.run.records.report.contents import Contents
from service.run.records.report.curves import charts
from service.run.records.report.style import STYLE
from service.run.records.report.texts import Texts

NAMED_STEPS = "leitstand-steps"
"""Name of the page's note of the records that it points at."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A browser that is told this asks no other machine for anything, whatever the page holds."""


def page(contents: Contents, language: Language) -> str:
    """Return the report as HTML."""
    texts = Texts(language)
    title = f"{texts('report')} {contents.title}"
    body = _body(contents, texts) if contents.columns.steps else f"<p>{escape(texts('no_records'))}</p>"
    made = texts("made", when=texts.moment(contents.made_at), version=contents.version)
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="{NAMED_STEPS}" content="{" ".join(map(str, _named_steps(contents)))}">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body><main>
<h1>{escape(title)}</h1>
{body}
{sections.unreadable(contents, texts)}
<footer>{escape(made)}</footer>
</main></body>
</html>
"""


def _named_steps(contents: Contents) -> list[int]:
    """Return the steps of the records that the page points at: `leitstand stats prune` keeps these."""
    shown = {record.step for record in (contents.best, contents.last) if record is not None}
    return sorted(shown | set(contents.previews))


def _body(contents: Contents, texts: Texts) -> str:
    parts = [
        _note(contents, texts), sections.figures(contents, texts),
        f"<h2>{escape(texts('curves'))}</h2><p class='soft'>{escape(texts('marks'))}</p>{charts(contents, texts)}",
    ]  # fmt: skip
    for name, section in (
        ("findings", sections.findings), ("ledger", ledger.section), ("previews", sections.previews),
        ("interventions", sections.interventions), ("events", sections.events), ("settings", sections.settings),
        ("environment", sections.environment), ("table", sections.records),
    ):  # fmt: skip
        parts.append(f"<h2>{escape(texts(name))}</h2>{section(contents, texts)}")
    return "\n".join(parts)


def _note(contents: Contents, texts: Texts) -> str:
    if not contents.note:
        return ""
    return f"<h2>{escape(texts('note'))}</h2><pre>{escape(contents.note)}</pre>"

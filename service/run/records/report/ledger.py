"""The section of a report about what the run's time went to, and its incidents."""

from html import escape

from service.run.ledger.answer import LedgerAnswer
from service.run.ledger.incident import Incident
from service.run.ledger.time_spent import TimeUse
from service.run.records.report.contents import Contents
from service.run.records.report.sections import table
from service.run.records.report.texts import MISSING, Texts

LEAST_SECONDS = 0.05


def section(contents: Contents, texts: Texts) -> str:
    """Return what the time went to, and the incidents, the newest first."""
    ledger = contents.ledger
    if ledger is None or not ledger.wall_seconds:
        return f"<p>{escape(texts('no_ledger'))}</p>"
    return f"<p>{escape(texts('ledger_note'))}</p>{_times(ledger, texts)}{_incidents(ledger, texts)}"


def _times(ledger: LedgerAnswer, texts: Texts) -> str:
    wall_seconds = ledger.wall_seconds
    shown = [(use.value, ledger.seconds.get(use, 0.0)) for use in TimeUse]
    rows = [(name, seconds) for name, seconds in shown if seconds >= LEAST_SECONDS]
    headings = (texts("use"), texts("share"), texts("duration"))
    cells = (
        (texts(name), f"{texts.number(100 * seconds / wall_seconds, '.1f')} %", clock_text(seconds))
        for name, seconds in [*rows, ("wall", wall_seconds)]
    )
    return table(headings, cells, "numbers")


def _incidents(ledger: LedgerAnswer, texts: Texts) -> str:
    if not ledger.incidents:
        return f"<p>{escape(texts('no_incidents'))}</p>"
    headings = ("noticed", "kind", "went_on", "steps_lost", "named_by")
    more = sum(ledger.incident_counts.values()) - len(ledger.incidents)
    note = f"<p>{escape(texts('left_out', count=more))}</p>" if more > 0 else ""
    return table(tuple(map(texts, headings)), (_row(one, texts) for one in ledger.incidents), "text") + note


def _row(one: Incident, texts: Texts) -> tuple[str, ...]:
    ranks = "" if one.ranks is None else f" ({', '.join(map(str, one.ranks))})"
    lost = MISSING if one.steps_lost is None else str(one.steps_lost)
    named = texts(f"by_{one.named_by or 'nobody'}")
    seen_at = one.began_at if one.detected_at is None else one.detected_at
    reason = "" if one.reason is None else f": {one.reason}"
    return texts.moment(seen_at), f"{texts(one.kind.value)}{ranks}", _went_on(one, texts), lost, f"{named}{reason}"


def _went_on(one: Incident, texts: Texts) -> str:
    if not one.is_over:
        return texts("lasts")
    seconds = one.recovery_seconds
    source = texts("unknown") if one.recovery is None else texts(f"from_{one.recovery.value}", source=one.source or "")
    after = "" if seconds is None else f", {texts('after_seconds', seconds=texts.number(seconds, '.1f'))}"
    return f"{source}{after}"


def clock_text(seconds: float) -> str:
    """Return hours, minutes and seconds, of days all hours."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

"""Reads the values of one scrape: counts and single rows of the store, never a history and no record file."""

import shutil
from dataclasses import replace

from flask import current_app

from api.alerts.current import alert_logs_of, current_alerts
from api.metrics.definition import Disk, Scrape
from api.metrics.http_stats import HttpCounts
from api.runs.context import RunContext
from service.alerts.rules import NAMES
from service.store.store import RunRow


def scrape_run(context: RunContext, http_counts: HttpCounts | None) -> Scrape:
    """Read all values that the metrics of a run need; raises `StoreUnavailableError`."""
    record_count = _record_count(context)
    with context.transaction_scope():
        run = context.find_run()
        scrape = Scrape(http_counts=http_counts, run=run, record_count=record_count, disk=_disk(context, run))
        if run is None:
            return scrape
        return _with_store(_with_alerts(replace(scrape, now=context.now(run)), context, run), context, run)


def _with_alerts(scrape: Scrape, context: RunContext, run: RunRow) -> Scrape:
    alerts = current_alerts(alert_logs_of(current_app), context, run, scrape.now).firing
    return replace(scrape, alerts={name: name in alerts for name in NAMES})


def _with_store(scrape: Scrape, context: RunContext, run: RunRow) -> Scrape:
    store = context.store
    if not store.exists():  # the run's directory has vanished
        return scrape
    versions = store.records.find_versions(run.id, newest_first=True, limit=1)
    return replace(
        scrape,
        ranks=store.ranks.find(run.id),
        commands=store.commands.counts(run.id),
        delays=store.commands.delays(run.id),
        record_count=store.records.count(run.id) if scrape.record_count is None else scrape.record_count,
        last_record=versions[0] if versions else None,
        ledger=store.ledgers.of(run, scrape.now),
    )


def _record_count(context: RunContext) -> int | None:
    """Return the number of records in the run directory; None if it is not on this machine or cannot be read."""
    try:
        return context.cached_directory.records.count() if context.cached_directory else None
    except OSError:
        return None


def _disk(context: RunContext, run: RunRow | None) -> Disk | None:
    """Return the disk of the run directory if it is on this machine, otherwise as the trainer last reported it."""
    if context.directory is not None:
        try:
            usage = shutil.disk_usage(context.directory.root)
        except OSError:
            return None
        return Disk(usage.free, usage.total)
    facts = (run.facts if run else None) or {}
    if "disk_free_bytes" not in facts:
        return None
    return Disk(facts["disk_free_bytes"], facts["disk_bytes"])

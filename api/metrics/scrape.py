"""What a scrape reads of a run: counts and single rows of the store, never its history, and no record file."""

import shutil
from dataclasses import replace

from flask import current_app

from api.alerts.current import alert_logs_of, current_alerts
from api.metrics.definition import Disk, Scrape
from api.metrics.http_stats import HttpCounts
from api.runs.context import RunContext
from service.alerts.rules import NAMES
from service.store.store import RunRow


def scrape_run(context: RunContext, traffic: HttpCounts | None) -> Scrape:
    """Everything that the table of metrics needs. Raises `StoreUnavailableError`."""
    files = _files(context)
    with context.transaction_scope():
        run = context.find_run()
        scrape = Scrape(traffic=traffic, run=run, record_count=files, disk=_disk(context, run))
        return scrape if run is None else _with_store(scrape, context, run)


def _with_store(scrape: Scrape, context: RunContext, run: RunRow) -> Scrape:
    store = context.store
    marks = store.records.find_versions(run.id, newest_first=True, limit=1)
    alerts = current_alerts(alert_logs_of(current_app), context, run, scrape.now).firing
    return replace(
        scrape,
        ranks=store.ranks.find(run.id),
        commands=store.commands.counts(run.id),
        delays=store.commands.delays(run.id),
        record_count=store.records.count(run.id) if scrape.record_count is None else scrape.record_count,
        last_record=marks[0] if marks else None,
        alerts={name: name in alerts for name in NAMES},
    )


def _files(context: RunContext) -> int | None:
    """How many records lie in the directory; None where it is not on this machine, or cannot be read."""
    try:
        return context.cached_directory.records.count() if context.cached_directory else None
    except OSError:
        return None


def _disk(context: RunContext, run: RunRow | None) -> Disk | None:
    """The disk as it is now where it is on this machine, else as the trainer last saw it."""
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

"""The application factory: which parts the HTTP process has, and nothing else.

    request ─> access (host, origin, token, rate) ─> contract (parameters) ─> one view ─> Reader ─> store, run directory
                          └──────────── anything refused ────────────> problem+json

Every route of a run is there twice: as `/state` for the default run, as `/runs/<run>/state` for any. A request only
reads, or queues a command; the trainer is never waited for. Importing this module does nothing.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, current_app, g, request

from api.alerts.current import register as register_alerts
from api.events.broadcaster import register as register_events
from api.http import auth, operation, problems
from api.routes import dashboard, health, metrics, openapi, runs
from api.routes.run import (
    alerts,
    checkpoints,
    commands,
    comparison,
    events,
    logs,
    previews,
    ranks,
    series,
    settings,
    state,
    statistics,
)
from api.runs.context import PREFIX
from api.runs.registry import RunRegistry
from service.auth.hosts import require_safe_address
from service.config.loader import load_config
from service.config.settings import RunConfig

MAX_BODY_BYTES = 64 * 1024


def create_app(settings: RunConfig | None = None) -> Flask:
    """The WSGI application for the runs of a room.

    Without `settings` they are read as everywhere: file named by LEITSTAND_CONFIG, then the environment. Raises
    `SettingError` for a wrong setting, and when API_HOST can be reached from elsewhere but there is no token.
    """
    config = settings_from_environment() if settings is None else settings
    require_safe_address(config)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the record's order of keys is part of the contract
    app.url_map.merge_slashes = False
    app.extensions["leitstand"] = registry = RunRegistry(config)
    problems.register(app)
    auth.register(app, config)
    app.before_request(_check_contract)
    app.url_value_preprocessor(_take_run)
    app.url_defaults(_give_run)
    openapi.register(app)
    register_events(app, registry, config.api_streams)
    register_alerts(app)
    for part in (runs.blueprint, health.blueprint, openapi.blueprint):
        app.register_blueprint(part)
    for part in _of_a_run():
        app.register_blueprint(part)
        app.register_blueprint(part, url_prefix="/runs/<run>", name=PREFIX + part.name)
    return app


def settings_from_environment() -> RunConfig:
    """The settings of this process; raises `SettingError`."""
    path = os.environ.get("LEITSTAND_CONFIG")
    return load_config(Path(path) if path else None, (), os.environ).config


def _of_a_run() -> Iterator[Blueprint]:
    for part in (
        dashboard,
        commands,
        settings,
        state,
        ranks,
        statistics,
        comparison,
        series,
        previews,
        checkpoints,
        logs,
        events,
        alerts,
    ):
        yield part.blueprint
    yield metrics.create_blueprint()


def _check_contract() -> None:
    wanted = operation.operation_of(current_app, request.endpoint)
    if wanted is not None:
        operation.check_parameters(wanted)


def _take_run(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Views need not know which run they speak of: `current_reader` does."""
    if values is not None and "run" in values:
        g.run_id = values.pop("run")


def _give_run(endpoint: str, values: dict[str, Any]) -> None:
    """Links stay below the prefix that the request came by."""
    if endpoint.startswith(PREFIX) and "run_id" in g:
        values.setdefault("run", g.run_id)

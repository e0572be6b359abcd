"""The application factory: assembles the parts of the HTTP process, and nothing else.

    request ─> Guard (host, origin, token, rate) ─> parameters ─> one view ─> RunContext ─> store, run directory
                          └──────────── every error ────────────> problem+json

Every route of a run exists twice: as `/state` for the default run and as `/runs/<run>/state` for any run. A request
only reads, or queues a command; it waits for the trainer only with `wait`. Importing this module has no effects.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, current_app, g, request

from api.alerts.actions import register as register_actions
from api.alerts.current import register as register_alerts
from api.events.broadcaster import register as register_events
from api.http import auth, compression, operation, problems, static_files
from api.routes import actions, dashboard, health, metrics, openapi, runs
from api.routes import problems as problem_pages
from api.routes.run import (
    alerts,
    checkpoints,
    commands,
    comparison,
    event_log,
    events,
    logs,
    previews,
    provenance,
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
    """Create the WSGI application.

    Without `settings`, they are read from the file named by LEITSTAND_CONFIG and from the environment. Raises
    `SettingError` for an invalid setting, or if API_HOST is reachable from other machines but there is no token.
    """
    config = settings_from_environment() if settings is None else settings
    require_safe_address(config)
    app = Flask(__name__, static_folder=None)
    compression.register(app)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the order of the record's keys is part of the API
    app.url_map.merge_slashes = False
    app.extensions["leitstand"] = registry = RunRegistry(config)
    problems.register(app)
    auth.register(app, config)
    app.before_request(_check_parameters)
    app.url_value_preprocessor(_pop_run_id)
    app.url_defaults(_add_run_id)
    static_files.register(app, Path(__file__).parent / "static")
    openapi.register(app)
    register_events(app, registry, config.api_streams)
    register_alerts(app)
    register_actions(app, config)
    for blueprint in (runs.blueprint, health.blueprint, openapi.blueprint, problem_pages.blueprint, actions.blueprint):
        app.register_blueprint(blueprint)
    for blueprint in _run_blueprints():
        app.register_blueprint(blueprint)
        app.register_blueprint(blueprint, url_prefix="/runs/<run>", name=PREFIX + blueprint.name)
    return app


def settings_from_environment() -> RunConfig:
    """Load the settings of this process; raises `SettingError`."""
    path = os.environ.get("LEITSTAND_CONFIG")
    return load_config(Path(path) if path else None, (), os.environ).config


def _run_blueprints() -> Iterator[Blueprint]:
    for module in (
        dashboard,
        commands,
        settings,
        state,
        ranks,
        statistics,
        comparison,
        series,
        previews,
        provenance,
        checkpoints,
        logs,
        event_log,
        events,
        alerts,
    ):
        yield module.blueprint
    yield metrics.create_blueprint()


def _check_parameters() -> None:
    declared = operation.operation_of(current_app, request.endpoint)
    if declared is not None:
        operation.check_parameters(declared)


def _pop_run_id(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Move `run` from the view's arguments to `g`, where `current_run_context` reads it."""
    if values is not None and "run" in values:
        g.run_id = values.pop("run")


def _add_run_id(endpoint: str, values: dict[str, Any]) -> None:
    """Add the current run to links between routes below `/runs/<run>`."""
    if endpoint.startswith(PREFIX) and "run_id" in g:
        values.setdefault("run", g.run_id)

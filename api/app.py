"""The application factory: which parts the HTTP process has, and nothing else.

    request ─> access (host, origin, token) ─> one blueprint ─> Reader ─> store and run directory
                          └──────────── anything refused ────────────> problem+json

A request only reads, or queues a command; the trainer is never waited for. Importing this module does nothing.
"""

import os
from pathlib import Path

from flask import Flask

from api import access, controls, health, live_settings, metrics, page, problems, ranks, records, series, states
from api.reader import Reader
from service.addresses import require_safe_address
from service.config import load_config
from service.settings import RunConfig

MAX_BODY_BYTES = 64 * 1024


def create_app(settings: RunConfig | None = None) -> Flask:
    """The WSGI application for one run directory.

    Without `settings` they are read as everywhere: file named by LEITSTAND_CONFIG, then the environment. Raises
    `SettingError` for a wrong setting, and when API_HOST can be reached from elsewhere but there is no API_TOKEN.
    """
    config = settings_from_environment() if settings is None else settings
    require_safe_address(config)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the record's order of keys is part of the contract
    app.url_map.merge_slashes = False
    reader = Reader(config)
    app.extensions["leitstand"] = reader
    problems.register(app)
    access.register(app, config.api_token)
    for part in (controls, live_settings, states, ranks, records, series, health, page):
        app.register_blueprint(part.blueprint)
    app.register_blueprint(metrics.create_blueprint(reader))
    return app


def settings_from_environment() -> RunConfig:
    """The settings of this process; raises `SettingError`."""
    path = os.environ.get("LEITSTAND_CONFIG")
    return load_config(Path(path) if path else None, (), os.environ).config

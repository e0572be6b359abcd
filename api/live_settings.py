"""`GET /settings`: what is in force, what was changed while running, and what can be."""

from typing import Any

from flask import Blueprint

from api.reader import current_reader
from service.config import as_text
from service.live import CHANGEABLE, PINNABLE, LiveSettings, allowed_text
from service.settings import rule_of
from service.store import RunRow

blueprint = Blueprint("live_settings", __name__)


@blueprint.get("/settings")
def show() -> dict[str, Any]:
    """The settings of the current run."""
    live = settings_of(current_reader().run())
    pins = {name: live.pins[name.lower()] for name in PINNABLE if name.lower() in live.pins}
    settings = {**as_text(live.config), **pins}
    changeable = [_row(name, settings[name], as_text(live.start)[name]) for name in (*CHANGEABLE, *PINNABLE)]
    return {"settings": settings, "changes": dict(live.changes), "pins": pins, "changeable": changeable}


def settings_of(run: RunRow) -> LiveSettings:
    """The settings of a run as the trainer last reported them."""
    return LiveSettings.of_run(run.config, run.live)


def has_perceptual(run: RunRow) -> bool:
    """Whether the run computes the perceptual term: the trainer knows, and before it says so the settings do."""
    wanted = settings_of(run).start.perceptual_weight > 0
    return bool((run.facts or {}).get("has_perceptual", wanted))


def _row(name: str, value: Any, start_value: Any) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "start_value": start_value,
        "range": allowed_text(name),
        "meaning": rule_of(name.lower()).meaning,
    }

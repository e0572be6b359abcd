"""Answer of `GET /settings`: each live setting with its value in force, range and pending change."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from flask import jsonify

from api.http.conditional import Representation
from api.http.problems import ProblemError
from service.api_types import ChangeableSetting, PendingChange, SettingsAnswer
from service.commands import CommandState, Kind
from service.config.live_settings import CHANGEABLE, PINNABLE, LiveSettings, allowed_text, read_changes
from service.config.loader import plain_values
from service.config.settings import rule_of
from service.errors import CommandError
from service.store.store import RunRow, Store

SettingValues = Mapping[str, int | float | bool | str]


def settings_of(run: RunRow) -> LiveSettings:
    """Return the settings of a run as the trainer last reported them."""
    return LiveSettings.of_run(run.config, run.live)


def has_perceptual(run: RunRow) -> bool:
    """Whether the run computes the perceptual loss: as the trainer reported, or before that, as the settings imply."""
    configured = settings_of(run).start.perceptual_weight > 0
    return bool((run.facts or {}).get("has_perceptual", configured))


def last_step(store: Store, run: RunRow) -> int | None:
    """Return the step at which a run ends, the latest if an accepted change of MAX_STEPS is not executed yet.

    Returns None if the run's settings are of another version and cannot be read.
    """
    with suppress(CommandError):
        wanted = [read_changes(change["changes"]) for change in _pending_changes(store, run.id)]
        pending = [cast(int, changes["MAX_STEPS"]) for changes in wanted if "MAX_STEPS" in changes]
        return max([settings_of(run).config.max_steps, *pending])
    return None


def settings_representation(store: Store, run_id: str) -> Representation:
    """Build the answer of `GET /settings`, with its ETag; raises `ProblemError` (no-run)."""
    # The order matters: a change that ends between the two queries is then part of the second.
    pending = _pending_changes(store, run_id)
    run = store.runs.get(run_id)
    if run is None:
        raise ProblemError("no-run", f"Run {run_id} is not in its store any more; look at /runs.")
    content = jsonify(_settings_answer(run, pending)).get_data()
    return Representation(content, "application/json", hashlib.sha256(content).hexdigest())


def _settings_answer(run: RunRow, pending: list[PendingChange]) -> SettingsAnswer:
    live = settings_of(run)
    pins = {name: live.pins[name.lower()] for name in PINNABLE if name.lower() in live.pins}
    settings, start = {**plain_values(live.config), **pins}, plain_values(live.start)
    return {
        "settings": settings,
        "changes": {name: settings[name] for name in live.changes},
        "pins": pins,
        "pending": pending,
        "changeable": [_changeable_setting(name, settings, start) for name in (*CHANGEABLE, *PINNABLE)],
    }


def _pending_changes(store: Store, run_id: str) -> list[PendingChange]:
    """Return the changes that are accepted and not yet executed, in the order of acceptance."""
    commands = [
        command
        for state in (CommandState.QUEUED, CommandState.RUNNING)
        for command in store.commands.find(run_id, state)
        if command.kind is Kind.SET
    ]
    return [
        {"command_id": command.id, "changes": dict(command.arguments), "apply_at_step": command.apply_at_step}
        for command in sorted(commands, key=lambda command: (command.created_at, command.id))
    ]


def _changeable_setting(name: str, settings: SettingValues, start: SettingValues) -> ChangeableSetting:
    return {
        "name": name,
        "value": settings[name],
        "start_value": start[name],
        "range": allowed_text(name),
        "meaning": rule_of(name.lower()).meaning,
    }

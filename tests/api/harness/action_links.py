"""Links of notifications that a server with `ACTION_SETTINGS` takes for its own."""

import time

from api.alerts.actions import ACTION_SECONDS, Action, ActionLinks
from service.commands import Kind
from service.config.settings import RunConfig
from tests.api.harness.example_run import RUN_ID

ACTION_SETTINGS = {"PUBLIC_URL": "http://127.0.0.1:5050", "ACTION_SECRET": "at least twenty-four bytes of secret"}


def action_token(kind: Kind = Kind.PAUSE, event_id: int = 41) -> str:
    """The end of a link for the example run that was sent now."""
    links = ActionLinks.of(RunConfig(**{name.lower(): value for name, value in ACTION_SETTINGS.items()}))
    assert links is not None
    return links.token(Action(RUN_ID, event_id, kind, int(time.time()) + ACTION_SECONDS))

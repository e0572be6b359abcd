"""The settings that somebody gave for a start, as options of the command line."""

import shlex
from typing import Any

from service.config.loader import SECRET
from service.run.records.provenance.provenance import Provenance

OF_THE_PLACE = frozenset({"DATA_ROOT", "STORE_URL"})
"""Settings that say where a run is, not what it is."""
DEFAULT = "default"


def given_settings(found: Provenance) -> tuple[list[str], list[str]]:
    """Return `--set NAME=value` for each setting that is no default, and the names of secrets, which are not shown."""
    settings, origins = found.get("settings", {}), found.get("origins", {})
    chosen = [name for name in settings if origins.get(name, DEFAULT) != DEFAULT and name not in OF_THE_PLACE]
    shown = [option(name, settings[name]) for name in chosen if name.lower() not in SECRET]
    return shown, [name for name in chosen if name.lower() in SECRET]


def option(name: str, value: Any) -> str:
    """Return the option that sets a value, quoted for a shell."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"--set {shlex.quote(f'{name}={text}')}"

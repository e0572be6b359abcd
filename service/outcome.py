"""How a command's progress reads in one line, on the command line and below the keyboard."""

from collections.abc import Mapping
from typing import Any

from service.commands import CommandState


def outcome_text(kind: str, state: str, step: int | None, result: Mapping[str, Any] | None, reason: str | None) -> str:
    """For example `validate done at step 120: record Statistik_120.json`, or `validate failed: <reason>`."""
    place = "" if step is None else f" at step {step}"
    found = ", ".join(f"{name} {_short(value)}" for name, value in (result or {}).items() if _is_told(value))
    details = found if state == CommandState.DONE else reason or ""
    return f"{kind} {state}{place}{': ' if details else ''}{details}"


def _is_told(value: Any) -> bool:
    """Texts and numbers; flags and what each rank did are for --json."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

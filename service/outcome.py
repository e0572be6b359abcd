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


def acceptance_text(kind: str, apply_at_step: int | None) -> str:
    """What a dry run found: `set would be accepted`."""
    return f"{kind} would be accepted{'' if apply_at_step is None else f' for step {apply_at_step}'}"


def _is_told(value: Any) -> bool:
    """Texts and numbers; flags and what each rank did are for --json."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

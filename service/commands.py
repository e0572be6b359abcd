"""What a person can ask of a running training, and the life of such a command.

    queued → running → done | failed | rejected          queued → expired | cancelled

A command is a row of the store from before it is acknowledged until for ever. The control word carries kinds as bits,
because all ranks must act alike; ids, people and results stay with rank 0.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import Any

from service.config.live_settings import read_changes
from service.errors import CommandError

LATEST = "latest"

_CHECKPOINT = re.compile(r"latest|best|[0-9]{1,18}|step_[0-9]{7,18}")


class Kind(StrEnum):
    """The commands of this version, in the order in which one boundary carries them out."""

    ROLLBACK = "rollback"
    SET = "set"
    RESUME = "resume"
    PAUSE = "pause"
    VALIDATE = "validate"
    CHECKPOINT = "checkpoint"
    STOP = "stop"


class CommandBits(IntFlag):
    """The bits of the control word: every kind, and the wish of any rank to leave because of a signal."""

    NONE = 0
    RESUME = 1
    PAUSE = 2
    VALIDATE = 4
    CHECKPOINT = 8
    STOP = 16
    LEAVE = 32
    SET = 64
    ROLLBACK = 128

    @classmethod
    def of(cls, kind: Kind) -> "CommandBits":
        """The bit of a kind of command."""
        return cls[kind.name]


class CommandState(StrEnum):
    """The states of a command; the last five are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more."""
        return self not in {CommandState.QUEUED, CommandState.RUNNING}


@dataclass(frozen=True)
class Command:
    """One row of the audit: what, who, when, at which step, with which outcome. Times are Unix seconds.

    It is carried out at the end of `apply_at_step`, rejected when that is over, and not begun after `expires_at`.
    Who asked twice under one `idempotency_key` gets the same command; `fingerprint` tells whether it was the same wish.
    """

    id: str
    run_id: str
    kind: Kind
    state: CommandState
    actor: str
    source: str
    created_at: float
    arguments: Mapping[str, Any]
    started_at: float | None = None
    finished_at: float | None = None
    step: int | None = None
    result: Mapping[str, Any] | None = None
    reason: str | None = None
    apply_at_step: int | None = None
    expires_at: float | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The command as plain JSON values, as the API shows it."""
        return {
            "id": self.id,
            "run_id": self.run_id,
            "kind": self.kind.value,
            "state": self.state.value,
            "actor": self.actor,
            "source": self.source,
            "created_at": self.created_at,
            "apply_at_step": self.apply_at_step,
            "expires_at": self.expires_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "step": self.step,
            "arguments": dict(self.arguments),
            "result": None if self.result is None else dict(self.result),
            "reason": self.reason,
        }


def check_arguments(kind: Kind, arguments: Any) -> dict[str, Any]:
    """The arguments of a command, names and types put right; raises `CommandError` when it does not take them.

    `set`: {"KEY": value, ...}, at least one. `rollback`: {"checkpoint": "latest", "best", "500" or "step_0000500"},
    by default the latest. The others take none.
    """
    if not isinstance(arguments, dict):
        raise CommandError(f"The body of {kind} must be a JSON object, but is {type(arguments).__name__}.")
    if kind is Kind.SET:
        return _changes(arguments)
    if kind is Kind.ROLLBACK:
        return {"checkpoint": _checkpoint(arguments)}
    if arguments:
        raise CommandError(f"{kind} takes no arguments, but got: {', '.join(sorted(map(str, arguments)))}.")
    return {}


def _changes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if not arguments:
        raise CommandError('set takes at least one setting, such as {"LR_SCALE": 0.5}, but got none.')
    return dict(read_changes(arguments))


def _checkpoint(arguments: Mapping[str, Any]) -> str:
    """The checkpoint's name as it was given; a whole number is a step, which JSON may also write as 500.0."""
    if others := sorted(arguments.keys() - {"checkpoint"}):
        raise CommandError(f"rollback takes only `checkpoint`, but got: {', '.join(others)}.")
    given = arguments.get("checkpoint", LATEST)
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    name = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if not _CHECKPOINT.fullmatch(name):
        raise CommandError(
            f"The checkpoint is {given!r}, but must be latest, best, a step (500) or a name (step_0000500)."
        )
    return name


def outcome_sentence(
    kind: str, state: str, step: int | None, result: Mapping[str, Any] | None, reason: str | None
) -> str:
    """For example `validate done at step 120: record Statistik_120.json`, or `validate failed: <reason>`."""
    place = "" if step is None else f" at step {step}"
    found = ", ".join(f"{name} {_short(value)}" for name, value in (result or {}).items() if _is_told(value))
    details = found if state == CommandState.DONE else reason or ""
    return f"{kind} {state}{place}{': ' if details else ''}{details}"


def acceptance_sentence(kind: str, apply_at_step: int | None) -> str:
    """What a dry run found: `set would be accepted`."""
    return f"{kind} would be accepted{'' if apply_at_step is None else f' for step {apply_at_step}'}"


def _is_told(value: Any) -> bool:
    """Texts and numbers; flags and what each rank did are for --json."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

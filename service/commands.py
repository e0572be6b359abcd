"""The commands that a user can send to a running training, and their states.

    queued → running → done | failed | rejected          queued → expired | cancelled

A command is stored before it is acknowledged and is never deleted. The control word carries kinds as bits, because all
ranks must act alike; only rank 0 knows ids, actors and results.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import Any

from service.config.live_settings import read_changes
from service.errors import UNPRINTABLE, CommandError, checked_text

LATEST = "latest"
WHY_LENGTH = 500
"""Most characters of a person's reason for a command."""
MAX_SHOWN = 80
"""Most characters of a refused value that a message repeats."""

MAX_PREVIEW_FRAMES = 48
"""Most frames that one preview of a clip has: the training waits while they are made."""
LAST_PREVIEW_FRAME = 10**6
CLIP_LENGTH = 500
"""Most characters in the name of a clip."""
_OUTSIDE_CLIPS = UNPRINTABLE.pattern[1:-1] + r"\\/"
CLIP_PATTERN = rf"^[^.{_OUTSIDE_CLIPS}][^{_OUTSIDE_CLIPS}]*(?:/[^.{_OUTSIDE_CLIPS}][^{_OUTSIDE_CLIPS}]*)*$"
"""Names with `/` between them, none of which is empty, hidden, or leads upwards."""

_CHECKPOINT = re.compile(r"latest|best|[0-9]{1,18}|step_[0-9]{7,18}")


class Kind(StrEnum):
    """The kinds of command, in the order in which they are executed at one step boundary."""

    ROLLBACK = "rollback"
    SET = "set"
    RESUME = "resume"
    PAUSE = "pause"
    VALIDATE = "validate"
    PREVIEW = "preview"
    CHECKPOINT = "checkpoint"
    STOP = "stop"


KEYS = {"v": Kind.VALIDATE, "c": Kind.CHECKPOINT}
"""The keys that give a command in `leitstand up` and `leitstand watch`; `p` is `pause_or_resume`."""


class CommandBits(IntFlag):
    """The bits of the control word: one for each kind, and one for a rank that received a termination signal."""

    NONE = 0
    RESUME = 1
    PAUSE = 2
    VALIDATE = 4
    CHECKPOINT = 8
    STOP = 16
    LEAVE = 32
    SET = 64
    ROLLBACK = 128
    PREVIEW = 256

    @classmethod
    def of(cls, kind: Kind) -> "CommandBits":
        """Return the bit of a kind of command."""
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
        """True if the state cannot change any more."""
        return self not in {CommandState.QUEUED, CommandState.RUNNING}


@dataclass(frozen=True)
class Command:
    """One command with its actor, times (Unix seconds), step and outcome: one row of the audit trail.

    It is executed at the end of step `apply_at_step`, rejected if that step has passed, and not started after
    `expires_at`. A second request with the same `idempotency_key` returns the same command; `fingerprint` shows whether
    both requests were the same. `why` is the reason that the person gave.
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
    why: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the command as plain JSON values, as the API answers it."""
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
            "why": self.why,
        }


def command_route(kind: str) -> tuple[str, str]:
    """Return method and path by which a command is asked for: where what it changes or makes is read, if anywhere."""
    elsewhere: dict[str, tuple[str, str]] = {Kind.SET: ("PATCH", "/settings"), Kind.PREVIEW: ("POST", "/previews")}
    return elsewhere.get(kind, ("POST", f"/{kind}"))


def split_why(body: Any) -> tuple[Any, str | None]:
    """Return the arguments in the body of a command, and the person's reason for it, None if there is none.

    Raises `CommandError` for a reason that is not a text.
    """
    if not isinstance(body, dict) or "why" not in body:
        return body, None
    arguments = {name: value for name, value in body.items() if name != "why"}
    try:
        return arguments, checked_text("why", body["why"], WHY_LENGTH)
    except ValueError as error:
        raise CommandError.of_members({"why": str(error)}) from None


def check_arguments(kind: Kind, arguments: Any) -> dict[str, Any]:
    """Return the arguments of a command with canonical names and types; raises `CommandError` if they are invalid.

    `set`: {"KEY": value, ...}, at least one. `rollback`: {"checkpoint": "latest", "best", "500" or "step_0000500"},
    by default the latest. `preview`: {"clip": "street.mp4", "frame": 0, "frames": 1}, where the last two are the
    defaults. The other commands take none.
    """
    if not isinstance(arguments, dict):
        raise CommandError(f"The body of {kind} must be a JSON object, but is {type(arguments).__name__}.")
    if kind is Kind.SET:
        return _changes(arguments)
    if kind is Kind.ROLLBACK:
        return {"checkpoint": _checkpoint(arguments)}
    if kind is Kind.PREVIEW:
        return _part_of_clip(arguments)
    if arguments:
        names = sorted(map(str, arguments))
        text = f"{kind} takes no arguments, but got: {', '.join(names)}."
        raise CommandError(text, dict.fromkeys(names, f"{kind} takes no arguments."))
    return {}


def pause_or_resume(queued: Iterable[tuple[str, int | None]], is_paused: bool) -> Kind:
    """Return what a key for both means: the opposite of the last one that waits, or else of the run's state.

    `queued` is (kind, apply_at_step) of the commands that wait, newest first; those for a later step do not count.
    """
    for kind, apply_at_step in queued:
        if kind in {Kind.PAUSE, Kind.RESUME} and apply_at_step is None:
            return Kind.RESUME if kind == Kind.PAUSE else Kind.PAUSE
    return Kind.RESUME if is_paused else Kind.PAUSE


def _changes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if not arguments:
        raise CommandError('set takes at least one setting, such as {"LR_SCALE": 0.5}, but got none.')
    return dict(read_changes(arguments))


def _checkpoint(arguments: Mapping[str, Any]) -> str:
    """Return the checkpoint's name as given; a whole number is a step, which JSON may also write as 500.0."""
    if others := sorted(arguments.keys() - {"checkpoint"}):
        text = f"rollback takes only `checkpoint`, but got: {', '.join(others)}."
        raise CommandError(text, dict.fromkeys(others, "rollback takes only `checkpoint`."))
    given = arguments.get("checkpoint", LATEST)
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    name = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if not _CHECKPOINT.fullmatch(name):
        text = f"The checkpoint is {given!r}, but must be latest, best, a step (500) or a name (step_0000500)."
        raise CommandError.of_members({"checkpoint": text})
    return name


def _part_of_clip(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name of a clip, the number of its first frame to show, and how many frames are shown."""
    if others := sorted(map(str, arguments.keys() - {"clip", "frame", "frames"})):
        text = f"preview takes only `clip`, `frame` and `frames`, but got: {', '.join(others)}."
        raise CommandError(text, dict.fromkeys(others, "preview takes only `clip`, `frame` and `frames`."))
    clip = arguments.get("clip")
    if not isinstance(clip, str) or len(clip) > CLIP_LENGTH or not re.fullmatch(CLIP_PATTERN, clip):
        text = (
            f"clip is {_shown(clip)}, but must be the name of a validation image, or of a video, a picture or a folder "
            "of pictures below PREVIEW_ROOT: without `..`, and not beginning with `/` or `.`."
        )
        raise CommandError.of_members({"clip": text})
    frame = _whole_number("frame", arguments.get("frame", 0), 0, LAST_PREVIEW_FRAME)
    frames = _whole_number("frames", arguments.get("frames", 1), 1, MAX_PREVIEW_FRAMES)
    return {"clip": clip, "frame": frame, "frames": frames}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _whole_number(name: str, given: Any, minimum: int, maximum: int) -> int:
    """Return a whole number, which JSON may also write as 5.0; raises `CommandError`."""
    is_whole = isinstance(given, int | float) and not isinstance(given, bool) and given == given // 1
    if not is_whole or not minimum <= given <= maximum:
        text = f"{name} is {_shown(given)}, but must be a whole number from {minimum} to {maximum}."
        raise CommandError.of_members({name: text})
    return int(given)


def outcome_sentence(
    kind: str,
    state: str,
    step: int | None,
    result: Mapping[str, Any] | None,
    reason: str | None,
    why: str | None = None,
) -> str:
    """Return for example `validate done at step 120: record Statistik_120.json` or `validate failed: <reason>`.

    With `why`, the person's reason follows: `pause done at step 120 (why: the machine is needed)`.
    """
    at_step = "" if step is None else f" at step {step}"
    values = ", ".join(f"{name} {_short(value)}" for name, value in (result or {}).items() if _is_shown(value))
    details = values if state == CommandState.DONE else reason or ""
    return f"{kind} {state}{at_step}{': ' if details else ''}{details}{f' (why: {why})' if why else ''}"


def acceptance_sentence(kind: str, apply_at_step: int | None) -> str:
    """Return the sentence for a successful dry run, for example `set would be accepted`."""
    return f"{kind} would be accepted{'' if apply_at_step is None else f' for step {apply_at_step}'}"


def _is_shown(value: Any) -> bool:
    """Return True for text and numbers; flags and the results of each rank are shown with --json only."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""The file of a replay: what people did to a run while it trained, each with its position, in the order of execution.

A position is (branch, step): the end of that optimizer step on that branch, since a rollback repeats steps.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from service.atomic_files import read_small_file
from service.commands import WHY_LENGTH, Kind, check_arguments
from service.errors import CommandError, UserError, plain_reason, printable

FORMAT = "leitstand-replay"
FORMAT_VERSION = 1
MAX_INTERVENTIONS = 100_000
REPLAYED = (Kind.ROLLBACK, Kind.SET, Kind.VALIDATE, Kind.CHECKPOINT)
"""Kinds of command that a replay repeats; the others change nothing of what is trained."""
MAX_SHOWN = 80
_KINDS = {"list": "a list", "dict": "an object", "str": "a text"}


class Position(NamedTuple):
    """The end of a step on a branch; positions of one run are in the order of time."""

    branch: int
    step: int

    def __str__(self) -> str:
        return f"step {self.step}" + (f" of branch {self.branch}" if self.branch else "")


@dataclass(frozen=True)
class Intervention:
    """One thing that was done at a position, by `actor`, for the reason `why`.

    `is_automatic`: the trainer did it by itself, and does it again by itself. `command_id` is the command of the
    original run, None if it had none.
    """

    kind: Kind
    at: Position
    arguments: Mapping[str, Any] = field(default_factory=dict)
    actor: str = "unknown"
    why: str | None = None
    is_automatic: bool = False
    command_id: str | None = None

    @property
    def rollback_step(self) -> int:
        """The step of the checkpoint to which a rollback returns."""
        return int(str(self.arguments["checkpoint"]).removeprefix("step_"))

    def as_dict(self) -> dict[str, Any]:
        """Return it as it stands in the file."""
        return {
            "kind": self.kind.value,
            "branch_id": self.at.branch,
            "step": self.at.step,
            "arguments": dict(self.arguments),
            "actor": self.actor,
            "why": self.why,
            "is_automatic": self.is_automatic,
            "command_id": self.command_id,
        }


@dataclass(frozen=True)
class ReplayFile:
    """The interventions in a run from position `begin` to `end`, and from what that run was made.

    `made_with` are values of its provenance: settings, world size, data, versions. `left_out` counts the commands that
    are not repeated, by kind. `remarks` are sentences about what the run's history does not tell.
    """

    run_id: str
    begin: Position
    end: Position
    interventions: tuple[Intervention, ...] = ()
    made_with: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    version: str = ""
    """Leitstand's version that exported it."""

    def encode(self) -> bytes:
        """Return the content of the file; the same run gives the same bytes."""
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "leitstand_version": self.version,
            "run_id": self.run_id,
            "begin": _position_values(self.begin),
            "end": _position_values(self.end),
            "made_with": dict(self.made_with),
            "interventions": [item.as_dict() for item in self.interventions],
            "left_out": dict(self.left_out),
            "remarks": list(self.remarks),
        }
        return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"

    @property
    def sha256(self) -> str:
        """What tells this replay from others."""
        return hashlib.sha256(self.encode()).hexdigest()


def read_replay(path: Path) -> ReplayFile:
    """Read and check a file; raises `UserError` that says what is wrong with it."""
    try:
        content = json.loads(read_small_file(path))
    except OSError as error:
        raise UserError(f"The replay {path} cannot be read ({plain_reason(error)}); put its path right.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"The replay {path} is no JSON ({plain_reason(error)}); export it again.") from None
    try:
        return decode(content)
    except _WrongError as error:
        raise UserError(f"The replay {path} cannot be used: {printable(str(error))}.") from None


class _WrongError(Exception):
    """What is wrong with a file, as a part of a sentence."""


def decode(content: Any) -> ReplayFile:
    """Return the replay that a file's content describes; raises an error that `read_replay` puts into a sentence."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _WrongError("it is no replay; `leitstand replay export RUN` makes one")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise _WrongError(
            f"its format_version is {_shown(version)}, and this version of Leitstand reads {FORMAT_VERSION}"
        )
    listed = _value(content, "interventions", list)
    if len(listed) > MAX_INTERVENTIONS:
        raise _WrongError(f"it has {len(listed)} interventions, at most {MAX_INTERVENTIONS} can be repeated")
    found = ReplayFile(
        run_id=_value(content, "run_id", str),
        begin=_position(_value(content, "begin", dict), "begin"),
        end=_position(_value(content, "end", dict), "end"),
        interventions=tuple(_intervention(item, number) for number, item in enumerate(listed, start=1)),
        made_with=_value(content, "made_with", dict),
        left_out=_value(content, "left_out", dict),
        remarks=tuple(map(str, _value(content, "remarks", list))),
        version=str(content.get("leitstand_version", "")),
    )
    _check_order(found)
    return found


def _value(content: Mapping[str, Any], key: str, kind: type) -> Any:
    value = content.get(key)
    if not isinstance(value, kind):
        raise _WrongError(f"its {key} is {_shown(value)}, but must be {_KINDS[kind.__name__]}")
    return value


def _position(content: Mapping[str, Any], what: str) -> Position:
    return Position(_count(content, "branch_id", what), _count(content, "step", what))


def _count(content: Mapping[str, Any], key: str, what: str) -> int:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise _WrongError(f"{key} of {what} is {_shown(value)}, but must be a whole number from 0")
    return value


def _intervention(content: Any, number: int) -> Intervention:
    what = f"intervention {number}"
    if not isinstance(content, dict):
        raise _WrongError(f"{what} is {_shown(content)}, but must be an object")
    known = {kind.value: kind for kind in REPLAYED}
    kind = known.get(content["kind"]) if isinstance(content.get("kind"), str) else None
    if kind is None:
        raise _WrongError(f"kind of {what} is {_shown(content.get('kind'))}, but must be one of: {', '.join(known)}")
    try:
        arguments = check_arguments(kind, content.get("arguments", {}))
    except CommandError as error:
        raise _WrongError(f"arguments of {what} ({kind}): {str(error).rstrip('.')}") from None
    if kind is Kind.ROLLBACK and not arguments["checkpoint"].removeprefix("step_").isdigit():
        raise _WrongError(f"checkpoint of {what} is {_shown(arguments['checkpoint'])}, but must name a step")
    return Intervention(
        kind,
        _position(content, what),
        arguments,
        actor=_text(content, "actor", what) or "unknown",
        why=_text(content, "why", what),
        is_automatic=content.get("is_automatic") is True,
        command_id=_text(content, "command_id", what),
    )


def _text(content: Mapping[str, Any], key: str, what: str) -> str | None:
    value = content.get(key)
    if value is None or (isinstance(value, str) and len(value) <= WHY_LENGTH):
        return value
    raise _WrongError(f"{key} of {what} is {_shown(value)}, but must be a text of at most {WHY_LENGTH} characters")


def _check_order(found: ReplayFile) -> None:
    """Refuse a file whose positions could not all be reached, one after the other."""
    before, branches = found.begin, {found.begin.branch}
    for number, item in enumerate(found.interventions, start=1):
        if item.at < before:
            raise _WrongError(f"intervention {number} is at {item.at}, but the one before it at {before}")
        if item.at.branch not in branches:
            raise _WrongError(f"intervention {number} is at {item.at}, but no rollback before it begins that branch")
        if item.kind is Kind.ROLLBACK:
            branches.add(item.at.branch + 1)
        before = item.at


def _position_values(position: Position) -> dict[str, int]:
    return {"branch_id": position.branch, "step": position.step}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

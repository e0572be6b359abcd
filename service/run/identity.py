"""The identity of a run, `run.json`: its id, the step of its last checkpoint, and what it began from.

People call it what they like: its name and its note are in the store, and may be changed at any time.
"""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.errors import UNPRINTABLE, CommandError, checked_text, printable

MAX_ID_BYTES = 128
_ID = re.compile(r"[^./\\][^/\\]*")
NAME_LENGTH = 100
NOTE_LENGTH = 2000
"""Most characters of each."""

_LIMITS = {"name": (NAME_LENGTH, ""), "note": (NOTE_LENGTH, "\n\t")}
"""The most characters of each, and which of them need not be printable."""


def new_run_id() -> str:
    """Return a run id that no other run has."""
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True)
class RunIdentity:
    """What identifies a run.

    `last_checkpoint` is the step of the checkpoint that was saved last; None if none was, or by an earlier version.
    `init_from` is what its first weights were read from; `parent_run` the run that it was forked from, or whose weights
    these were, at `parent_step`; None if there is none. `provenance` is the sha256 of the file that
    says from what its last start was made.
    """

    run_id: str
    last_checkpoint: int | None = None
    init_from: str | None = None
    parent_run: str | None = None
    parent_step: int | None = None
    provenance: str | None = None

    @classmethod
    def from_json(cls, text: bytes) -> "RunIdentity":
        """Return what a `run.json` holds; raises `ValueError` or `RecursionError` if it is damaged."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, content: Any) -> "RunIdentity":
        """Return the identity in the content of a JSON file; raises `ValueError` if it is damaged."""
        if not isinstance(content, dict) or "run_id" not in content:
            raise ValueError("it is no object with a run_id")
        return cls(
            run_id=_checked_id(content["run_id"]),
            last_checkpoint=_step_or_none(content, "last_checkpoint"),
            init_from=_text_or_none(content, "init_from"),
            parent_run=_text_or_none(content, "parent_run"),
            parent_step=_step_or_none(content, "parent_step"),
            provenance=_text_or_none(content, "provenance"),
        )

    def to_json(self) -> bytes:
        """Return the content of `run.json`."""
        return json.dumps(asdict(self)).encode() + b"\n"


def _checked_id(value: Any) -> str:
    """Return the id of a run if it can name a folder and be part of an address; raises `ValueError` otherwise."""
    is_name = isinstance(value, str) and _ID.fullmatch(value) and not UNPRINTABLE.search(value)
    if is_name and len(value.encode()) <= MAX_ID_BYTES:
        return str(value)
    raise ValueError(
        f"its run_id is {_shown(value)}, but must be a text of at most {MAX_ID_BYTES} bytes, without / or a . in front"
    )


def _text_or_none(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its {key} is {_shown(value)}, but must be a text")
    return value


def _step_or_none(content: Mapping[str, Any], key: str) -> int | None:
    value = content.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63):
        raise ValueError(f"its {key} is {_shown(value)}, but must be a step")
    return value


def _shown(value: Any) -> str:
    return printable(repr(value))[:80]


def check_description(body: Any) -> dict[str, str | None]:
    """Return the new `name`, `note` or both, None to have none; raises `CommandError` that says all that is wrong.

    A name is one line; a note may have several.
    """
    if not isinstance(body, Mapping):
        raise CommandError(f"The body must be a JSON object with name, note or both, but is {type(body).__name__}.")
    if not body:
        raise CommandError('There is nothing to change: give name, note or both, such as {"name": "deeper network"}.')
    changes: dict[str, str | None] = {}
    wrong = {name: f"{name!r} is no part of a run's description; give name or note." for name in body.keys() - _LIMITS}
    for name in body.keys() & _LIMITS.keys():
        try:
            changes[name] = checked_text(name, body[name], *_LIMITS[name])
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        raise CommandError.of_members({name: wrong[name] for name in body if name in wrong})
    return changes

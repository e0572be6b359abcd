"""The kinds of parameters a route can take: each reads itself from the present request, and describes itself.

All are checked as text first, so that nothing exotic reaches the store.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from flask import request

from api.http.problems import ProblemError

LARGEST = 10**18 - 1
"""As many digits as a record's name can hold; fits the store's integers."""

T_co = TypeVar("T_co", covariant=True)

_TRUTH = {"": True, "1": True, "true": True, "0": False, "false": False}
_NUMBER = re.compile(r"[0-9]{1,32}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,4})?")
_DIGITS = re.compile(r"[0-9]{1,18}")


class Parameter(Generic[T_co]):
    """One parameter, `place` says where: in the query string, a header, or the path.

    `schema` is the JSON Schema of an allowed value, `default` what holds where the parameter is absent.
    """

    def __init__(self, name: str, meaning: str, schema: Mapping[str, Any], default: T_co, place: str = "query") -> None:
        self.name = name
        self.meaning = meaning
        self.schema = schema if default is None else {**schema, "default": default}
        self.place = place
        self._default = default

    def value(self) -> T_co:
        """What the present request says; raises `ProblemError` (invalid-argument)."""
        text = (request.args if self.place == "query" else request.headers).get(self.name)
        return self._default if text is None else self._parse(text)

    def _parse(self, text: str) -> T_co:
        raise NotImplementedError

    def _refusal(self, text: str, must_be: str) -> ProblemError:
        return ProblemError("invalid-argument", f"{self.name} is {text!r}, but must be {must_be}.")


class InPath(Parameter[None]):
    """A part of the path, only described here: the view judges it, since it knows what there is (404, not 422)."""

    def __init__(self, name: str, meaning: str, schema: Mapping[str, Any]) -> None:
        super().__init__(name, meaning, schema, None, "path")


class WholeNumber(Parameter[int]):
    """A whole number in a range, with a default."""

    def __init__(self, name: str, meaning: str, *, default: int, minimum: int = 0, maximum: int = LARGEST) -> None:
        super().__init__(name, meaning, {"type": "integer", "minimum": minimum, "maximum": maximum}, default)
        self._minimum, self._maximum = minimum, maximum

    def _parse(self, text: str) -> int:
        if not _DIGITS.fullmatch(text) or not self._minimum <= int(text) <= self._maximum:
            upper = "" if self._maximum == LARGEST else f" to {self._maximum}"
            raise self._refusal(text, f"a whole number from {self._minimum}{upper}")
        return int(text)


class Step(Parameter[int | None]):
    """A step, or None."""

    def __init__(self, name: str, meaning: str) -> None:
        super().__init__(name, meaning, {"type": "integer", "minimum": 0, "maximum": LARGEST}, None)

    def _parse(self, text: str) -> int:
        if not _DIGITS.fullmatch(text):
            raise self._refusal(text, "a step, a whole number")
        return int(text)


class Seconds(Parameter[float | None]):
    """A time in seconds up to `most`, or None; 0 only where `is_open_at_zero` is false."""

    def __init__(self, name: str, meaning: str, *, most: float, is_open_at_zero: bool = False) -> None:
        least = {"exclusiveMinimum" if is_open_at_zero else "minimum": 0}
        super().__init__(name, meaning, {"type": "number", **least, "maximum": most}, None)
        self._most, self._is_open_at_zero = most, is_open_at_zero

    def _parse(self, text: str) -> float:
        is_number = bool(_NUMBER.fullmatch(text))
        if not is_number or float(text) > self._most or (self._is_open_at_zero and float(text) == 0):
            least = "above 0" if self._is_open_at_zero else "from 0"
            raise self._refusal(text, f"seconds {least} to {self._most:g}")
        return float(text)


class Flag(Parameter[bool]):
    """True or false; absent is false."""

    def __init__(self, name: str, meaning: str) -> None:
        super().__init__(name, meaning, {"type": "boolean"}, default=False)

    def _parse(self, text: str) -> bool:
        if text.lower() not in _TRUTH:
            raise self._refusal(text, "true or false")
        return _TRUTH[text.lower()]


class Choice(Parameter[str | None]):
    """One of a few words; the default, or None, where it is absent."""

    def __init__(
        self, name: str, meaning: str, choices: Sequence[str], *, default: str | None = None, place: str = "query"
    ) -> None:
        super().__init__(name, meaning, {"type": "string", "enum": list(choices)}, default, place)
        self._choices = tuple(choices)

    def _parse(self, text: str) -> str:
        if text not in self._choices:
            raise self._refusal(text, f"one of: {', '.join(self._choices)}")
        return text


class Text(Parameter[str | None]):
    """A text that matches a regular expression as a whole, or None."""

    def __init__(self, name: str, meaning: str, pattern: str, must_be: str, *, place: str = "query") -> None:
        super().__init__(name, meaning, {"type": "string", "pattern": f"^(?:{pattern})$"}, None, place)
        self._pattern, self._must_be = re.compile(pattern), must_be

    def _parse(self, text: str) -> str:
        if not self._pattern.fullmatch(text):
            raise self._refusal(text, self._must_be)
        return text


_ID = "[0-9A-Za-z._-]{1,64}"


class Names(Parameter[tuple[str, ...] | None]):
    """Some of the known `choices`, each once, in the order given; None where it is absent."""

    def __init__(self, name: str, meaning: str, choices: Sequence[str]) -> None:
        one = f"(?:{'|'.join(map(re.escape, choices))})?"
        super().__init__(name, meaning, {"type": "string", "pattern": f"^{one}(?:,{one})*$"}, None)
        self._choices = tuple(choices)

    def _parse(self, text: str) -> tuple[str, ...]:
        names = _parts(text)
        for name in names:
            if name not in self._choices:
                raise self._unknown(name)
        return names

    def _unknown(self, name: str) -> ProblemError:
        near = difflib.get_close_matches(name, self._choices, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "docs/api.md lists all names."
        return ProblemError("invalid-argument", f"There is no value {name!r}; {hint}")


class Identities(Parameter[tuple[str, ...] | None]):
    """One to `most` ids, each once, in the order given; None where it is absent."""

    def __init__(self, name: str, meaning: str, *, most: int) -> None:
        pattern = f"{_ID}(?:,{_ID}){{0,{most - 1}}}"
        super().__init__(name, meaning, {"type": "string", "pattern": f"^{pattern}$"}, None)
        self._pattern = re.compile(pattern)
        self._most = most

    def _parse(self, text: str) -> tuple[str, ...]:
        if not self._pattern.fullmatch(text):
            raise self._refusal(text, f"1 to {self._most} ids, separated by commas")
        return _parts(text)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in text.split(",") if part))

"""Parameter types of routes: each parses its value from the current request and carries its JSON Schema.

Values are validated as text before conversion, so that no unusual input reaches the store.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from flask import request

from api.http.problems import ProblemError, all_invalid
from service.errors import FieldError

LARGEST = 10**18 - 1
"""The largest step: as many digits as a record's name can hold; fits the store's integers."""

MAX_LISTED = 12
"""Most choices that an error lists; only record keys are more."""
ALL_NAMES = "the documentation on this server lists all names"

T_co = TypeVar("T_co", covariant=True)

_TRUTH = {"": True, "1": True, "true": True, "0": False, "false": False}
_NUMBER = re.compile(r"[0-9]{1,32}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,4})?")
_DIGITS = re.compile(r"[0-9]{1,18}")


class Parameter(Generic[T_co]):
    """One parameter in the `query`, a `header` or the `path` (`location`).

    `schema` is the JSON Schema of a valid value; `default` applies if the parameter is absent.
    """

    def __init__(
        self, name: str, meaning: str, schema: Mapping[str, Any], default: T_co, location: str = "query"
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.schema = schema if default is None else {**schema, "default": default}
        self.location = location
        self._default = default

    def value(self) -> T_co:
        """Return the parameter's value in the current request; raises `ProblemError` (invalid-argument)."""
        text = (request.args if self.location == "query" else request.headers).get(self.name)
        return self._default if text is None else self._parse(text)

    def _parse(self, text: str) -> T_co:
        raise NotImplementedError

    def _invalid(self, text: str, must_be: str) -> ProblemError:
        return self._refused(f"{self.name} is {text!r}, but must be {must_be}.")

    def _refused(self, sentence: str) -> ProblemError:
        """Return the error (invalid-argument) that a sentence says of this parameter."""
        error: FieldError = {"detail": sentence}
        error["header" if self.location == "header" else "parameter"] = self.name
        return all_invalid([error])


class PathParameter(Parameter[None]):
    """Part of the path; only described here. The view validates it, because an unknown value is 404, not 422."""

    def __init__(self, name: str, meaning: str, schema: Mapping[str, Any]) -> None:
        super().__init__(name, meaning, schema, None, "path")


class WholeNumber(Parameter[int]):
    """Whole number in a range, with a default."""

    def __init__(self, name: str, meaning: str, *, default: int, minimum: int = 0, maximum: int = LARGEST) -> None:
        super().__init__(name, meaning, {"type": "integer", "minimum": minimum, "maximum": maximum}, default)
        self._minimum, self._maximum = minimum, maximum

    def _parse(self, text: str) -> int:
        if not _DIGITS.fullmatch(text) or not self._minimum <= int(text) <= self._maximum:
            upper = "" if self._maximum == LARGEST else f" to {self._maximum}"
            raise self._invalid(text, f"a whole number from {self._minimum}{upper}")
        return int(text)


class Step(Parameter[int | None]):
    """Step, or None."""

    def __init__(self, name: str, meaning: str) -> None:
        super().__init__(name, meaning, {"type": "integer", "minimum": 0, "maximum": LARGEST}, None)

    def _parse(self, text: str) -> int:
        if not _DIGITS.fullmatch(text):
            raise self._invalid(text, "a step, a whole number")
        return int(text)


class Seconds(Parameter[float | None]):
    """Duration in seconds up to `maximum`, or None; 0 is valid unless `is_zero_excluded`."""

    def __init__(self, name: str, meaning: str, *, maximum: float, is_zero_excluded: bool = False) -> None:
        lower_bound = {"exclusiveMinimum" if is_zero_excluded else "minimum": 0}
        super().__init__(name, meaning, {"type": "number", **lower_bound, "maximum": maximum}, None)
        self._maximum, self._is_zero_excluded = maximum, is_zero_excluded

    def _parse(self, text: str) -> float:
        is_number = bool(_NUMBER.fullmatch(text))
        if not is_number or float(text) > self._maximum or (self._is_zero_excluded and float(text) == 0):
            lower_bound = "above 0" if self._is_zero_excluded else "from 0"
            raise self._invalid(text, f"seconds {lower_bound} to {self._maximum:g}")
        return float(text)


class Flag(Parameter[bool]):
    """Boolean; False if absent."""

    def __init__(self, name: str, meaning: str) -> None:
        super().__init__(name, meaning, {"type": "boolean"}, default=False)

    def _parse(self, text: str) -> bool:
        if text.lower() not in _TRUTH:
            raise self._invalid(text, "true or false")
        return _TRUTH[text.lower()]


class Choice(Parameter[str | None]):
    """One of several words; the default, or None, if absent."""

    def __init__(
        self, name: str, meaning: str, choices: Sequence[str], *, default: str | None = None, location: str = "query"
    ) -> None:
        super().__init__(name, meaning, {"type": "string", "enum": list(choices)}, default, location)
        self._choices = tuple(choices)

    def _parse(self, text: str) -> str:
        if text not in self._choices:
            raise self._invalid(text, f"one of: {', '.join(self._choices)}")
        return text


class PatternText(Parameter[str | None]):
    """Text that fully matches a regular expression, or None."""

    def __init__(self, name: str, meaning: str, pattern: str, must_be: str, *, location: str = "query") -> None:
        super().__init__(name, meaning, {"type": "string", "pattern": f"^(?:{pattern})$"}, None, location)
        self._pattern, self._must_be = re.compile(pattern), must_be

    def _parse(self, text: str) -> str:
        if not self._pattern.fullmatch(text):
            raise self._invalid(text, self._must_be)
        return text


_ID = "[0-9A-Za-z._-]{1,64}"


class Choices(Parameter[tuple[str, ...] | None]):
    """Comma-separated subset of `choices`, without duplicates, in the order given; None if absent."""

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
        similar = difflib.get_close_matches(name, self._choices, n=1, cutoff=0.5)
        all_names = f"it takes: {', '.join(self._choices)}" if len(self._choices) <= MAX_LISTED else ALL_NAMES
        hint = f"did you mean {similar[0]}?" if similar else f"{all_names}."
        return self._refused(f"{self.name} takes no {name!r}; {hint}")


class Ids(Parameter[tuple[str, ...] | None]):
    """Comma-separated ids, 1 to `maximum`, without duplicates, in the order given; None if absent."""

    def __init__(self, name: str, meaning: str, *, maximum: int) -> None:
        pattern = f"{_ID}(?:,{_ID}){{0,{maximum - 1}}}"
        super().__init__(name, meaning, {"type": "string", "pattern": f"^{pattern}$"}, None)
        self._pattern = re.compile(pattern)
        self._maximum = maximum

    def _parse(self, text: str) -> tuple[str, ...]:
        if not self._pattern.fullmatch(text):
            raise self._invalid(text, f"1 to {self._maximum} ids, separated by commas")
        return _parts(text)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in text.split(",") if part))

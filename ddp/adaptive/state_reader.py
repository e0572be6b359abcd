"""Saved state, read with care: every value is checked before the controller goes on from it."""

import math
from collections.abc import Mapping
from typing import Any


class StateReader:
    """A mapping of plain JSON values; each reader raises `ValueError` in one sentence for what it cannot understand."""

    def __init__(self, values: object, name: str = "state") -> None:
        if not isinstance(values, Mapping):
            raise _refusal(f"The controller's {name}", values, "a mapping")
        self._values = values
        self._name = name

    def part(self, key: str) -> "StateReader":
        """A mapping inside this one."""
        return StateReader(self._value(key), f"{self._name}.{key}")

    def part_or_none(self, key: str) -> "StateReader | None":
        """A mapping inside this one, or None."""
        return None if self._value(key) is None else self.part(key)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number between `low` and `high`."""
        return self._checked_number(key, self._value(key), low, high)

    def number_or_none(self, key: str) -> float | None:
        """A finite number, or None."""
        return None if self._value(key) is None else self.number(key)

    def numbers(self, key: str, low: float = -math.inf, high: float = math.inf) -> list[float]:
        """A list of finite numbers between `low` and `high`."""
        return [self._checked_number(key, value, low, high) for value in self._list(key)]

    def points(self, key: str) -> list[tuple[int, float]]:
        """A list of pairs of a step and a finite number."""
        points = []
        for point in self._list(key):
            if not isinstance(point, list | tuple) or len(point) != 2:
                raise self._refused(key, point, "a pair of a step and a number")
            points.append((self._checked_whole(key, point[0], 0), self._checked_number(key, point[1])))
        return points

    def whole(self, key: str, low: int = 0) -> int:
        """A whole number, at least `low`."""
        return self._checked_whole(key, self._value(key), low)

    def whole_or_none(self, key: str) -> int | None:
        """A whole number, at least 0, or None."""
        return None if self._value(key) is None else self.whole(key)

    def truth(self, key: str) -> bool:
        """True or false."""
        value = self._value(key)
        if not isinstance(value, bool):
            raise self._refused(key, value, "true or false")
        return value

    def _value(self, key: str) -> Any:
        if key not in self._values:
            raise ValueError(f"The controller's {self._name} lacks {key!r}.")
        return self._values[key]

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list | tuple):
            raise self._refused(key, value, "a list")
        return list(value)

    def _checked_number(self, key: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(key, value, "a number")
        if not math.isfinite(value) or not low <= value <= high:
            raise self._refused(key, value, f"finite and between {low:g} and {high:g}")
        return float(value)

    def _checked_whole(self, key: str, value: object, low: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self._refused(key, value, f"a whole number, at least {low}")
        return value

    def _refused(self, key: str, value: object, wanted: str) -> ValueError:
        return _refusal(f"{key!r} in the controller's {self._name}", value, wanted)


def _refusal(what: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{what} is {value!r}, but must be {wanted}.")

"""Reader of saved state that checks every value before the controller uses it."""

import math
from collections.abc import Mapping
from typing import Any


class StateReader:
    """Reader of a mapping of plain JSON values; each method raises `ValueError` for a missing or invalid value."""

    def __init__(self, values: object, name: str = "state") -> None:
        if not isinstance(values, Mapping):
            raise _invalid_value(f"The controller's {name}", values, "a mapping")
        self._values = values
        self._name = name

    def part(self, key: str) -> "StateReader":
        """Return a reader of a nested mapping."""
        return StateReader(self._value(key), f"{self._name}.{key}")

    def part_or_none(self, key: str) -> "StateReader | None":
        """Return a reader of a nested mapping, or None."""
        return None if self._value(key) is None else self.part(key)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number between `low` and `high`."""
        return self._checked_number(key, self._value(key), low, high)

    def number_or_none(self, key: str) -> float | None:
        """Return a finite number, or None."""
        return None if self._value(key) is None else self.number(key)

    def numbers(self, key: str, low: float = -math.inf, high: float = math.inf) -> list[float]:
        """Return a list of finite numbers between `low` and `high`."""
        return [self._checked_number(key, value, low, high) for value in self._list(key)]

    def points(self, key: str) -> list[tuple[int, float]]:
        """Return a list of pairs of a step and a finite number."""
        points = []
        for point in self._list(key):
            if not isinstance(point, list | tuple) or len(point) != 2:
                raise self._invalid(key, point, "a pair of a step and a number")
            points.append((self._checked_whole(key, point[0], 0), self._checked_number(key, point[1])))
        return points

    def whole(self, key: str, low: int = 0) -> int:
        """Return a whole number, at least `low`."""
        return self._checked_whole(key, self._value(key), low)

    def whole_or_none(self, key: str) -> int | None:
        """Return a whole number, at least 0, or None."""
        return None if self._value(key) is None else self.whole(key)

    def truth(self, key: str) -> bool:
        """Return a truth value."""
        value = self._value(key)
        if not isinstance(value, bool):
            raise self._invalid(key, value, "true or false")
        return value

    def _value(self, key: str) -> Any:
        if key not in self._values:
            raise ValueError(f"The controller's {self._name} lacks {key!r}.")
        return self._values[key]

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list | tuple):
            raise self._invalid(key, value, "a list")
        return list(value)

    def _checked_number(self, key: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._invalid(key, value, "a number")
        if not math.isfinite(value) or not low <= value <= high:
            raise self._invalid(key, value, f"finite and between {low:g} and {high:g}")
        return float(value)

    def _checked_whole(self, key: str, value: object, low: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self._invalid(key, value, f"a whole number, at least {low}")
        return value

    def _invalid(self, key: str, value: object, wanted: str) -> ValueError:
        return _invalid_value(f"{key!r} in the controller's {self._name}", value, wanted)


def _invalid_value(what: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{what} is {value!r}, but must be {wanted}.")

"""Patch sets that are mixed by weight, from DATASET_ROOT and DATA_SOURCES. Reads no file."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from pathlib import Path

from service.errors import SettingError

WEIGHT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
MAX_PERIOD = 10_000
"""Largest sum of weights as whole numbers without a common factor: after so many samples each source had its share."""


@dataclass(frozen=True)
class DataSource:
    """One patch set; of the samples of all sources, `weight` of the sum of all weights come from it."""

    name: str
    path: Path
    weight: int


def data_sources(dataset_root: Path, text: str) -> tuple[DataSource, ...]:
    """Return DATASET_ROOT with weight 1, and the sets of DATA_SOURCES, `path:weight` separated by commas.

    Weights are whole numbers without a common factor. If DATASET_ROOT is among them, it has the weight given there.
    Raises `SettingError`.
    """
    given = dict([_parsed(part.strip()) for part in text.split(",")]) if text.strip() else {}
    if len(given) < (text.count(",") + 1 if given else 0):
        raise SettingError("DATA_SOURCES names a patch set twice: give each once, with its weight.")
    weights = {dataset_root: Fraction(1), **given}
    whole = _whole(list(weights.values()))
    if sum(whole) > MAX_PERIOD:
        raise SettingError(
            f"the weights of DATASET_ROOT and DATA_SOURCES are {':'.join(map(str, whole))} as whole numbers, which add "
            f"up to {sum(whole)}, but must not exceed {MAX_PERIOD}: round them."
        )
    names = _names(list(weights))
    return tuple(DataSource(name, path, weight) for name, path, weight in zip(names, weights, whole, strict=True))


def named_sets(parts: Iterable[str]) -> dict[str, Path]:
    """Return the sets to evaluate by name, in their order, each given as `path` or `name=path`.

    Raises `SettingError`.
    """
    given = [part.strip() for part in parts if part.strip()]
    named = [part.partition("=") if "=" in part else ("", "=", part) for part in given]
    paths = [Path(path.strip()).expanduser() for _, _, path in named]
    names = [name.strip() or own for (name, _, _), own in zip(named, _names(paths), strict=True)]
    for name, path in zip(names, paths, strict=True):
        if names.count(name) > 1:
            raise SettingError(
                f"{name} is named twice among the sets to evaluate: give {path} another name, NAME=PATH."
            )
        if path == Path():
            raise SettingError(f"The set {name} to evaluate has no path: give NAME=PATH, or a path alone.")
    return dict(zip(names, paths, strict=True))


def _parsed(part: str) -> tuple[Path, Fraction]:
    path, colon, weight = part.rpartition(":")
    if not colon or not path.strip() or not WEIGHT.fullmatch(weight.strip()):
        raise SettingError(
            f"DATA_SOURCES has {part!r}, but needs `path:weight` for each patch set, separated by commas, the weight a "
            "number such as 2 or 0.5."
        )
    number = Fraction(weight.strip())
    if not number:
        raise SettingError(f"DATA_SOURCES gives {path} the weight 0: leave it out, or give a number above 0.")
    return Path(path.strip()).expanduser(), number


def _whole(weights: Sequence[Fraction]) -> list[int]:
    factor = lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * factor) for weight in weights]
    return [weight // gcd(*whole) for weight in whole]


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the last part of each path, numbered where several have the same."""
    names: list[str] = []
    for path in paths:
        base = path.absolute().name or "data"
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}-{count}"
        names.append(name)
    return names

"""Values of records as text: cells of CSV that no spreadsheet takes for a formula, and compact strict JSON."""

import json
import math
from typing import Any

from service.run.record import UNKNOWN_DURATION, finite

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> str:
    """Return a value as a cell: empty for None, nested values as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        # Text of a foreign file must not become a spreadsheet formula; of our own only one begins like this.
        is_formula = value.startswith(FORMULA_PREFIXES) and value != UNKNOWN_DURATION
        return f"'{value}" if is_formula else value
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return compact(value)


def compact(value: Any) -> str:
    """Return a value as JSON on one line, null for numbers that are not finite."""
    try:
        return _ENCODER.encode(value)
    except ValueError:  # JSON allows 1e999, which Python reads as infinity
        return _ENCODER.encode(finite(value))


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

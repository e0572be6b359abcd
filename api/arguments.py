"""Numbers in a query string: checked as text first, so that nothing exotic reaches the store."""

import re

from flask import request

from api.problems import ProblemError

LARGEST = 10**18 - 1
"""As many digits as a record's name can hold; fits the store's integers."""

_DIGITS = re.compile(r"[0-9]{1,18}")


def whole_number(name: str, *, default: int, minimum: int = 0, maximum: int = LARGEST) -> int:
    """The query's `name`, or `default` without it; raises `ProblemError` when it is no whole number in the range."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not _DIGITS.fullmatch(text) or not minimum <= int(text) <= maximum:
        bounds = f"from {minimum}" if maximum == LARGEST else f"from {minimum} to {maximum}"
        raise ProblemError("invalid-argument", f"{name} is {text!r}, but must be a whole number {bounds}.")
    return int(text)

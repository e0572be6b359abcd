"""Lists in a query string: names separated by commas, each of a known set, or of a known shape."""

import difflib
import re
from collections.abc import Sequence

from api.parameters import Parameter
from api.problems import ProblemError

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

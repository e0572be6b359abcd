"""Ranks grouped by equal stacks: of a thousand ranks that wait for one, two groups are left to read.

Stacks are equal if they call the same functions; the lines within functions may differ, and the folders of machines.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stages import Stage

MAX_LISTED_RANKS = 8
MAX_LISTED_GROUPS = 6
OWN_PARTS = 2
"""So much of the end of a path tells files of the program apart."""
_CALL = re.compile(r'^  File "(?P<path>[^"]+)", line \d+, in (?P<function>.+)$', re.MULTILINE)
_LIBRARY = re.compile(r"site-packages/|dist-packages/|/lib(?:64)?/python\d|^<frozen ")
_PACKAGES = re.compile(r"^.*(?:site-packages|dist-packages|/lib(?:64)?/python\d[^/]*)/")

Call = tuple[str, str]
"""A call of a stack: the file, without the folders of this machine, and the function."""


@dataclass(frozen=True)
class StackGroup:
    """Ranks in the same stage with equal stacks. `stack` is that of the first of them, `age_seconds` its age.

    `is_silent` ranks do not report: their stack is the last one known. `state` says what the kernel says of them.
    """

    ranks: tuple[int, ...]
    stage: Stage
    is_silent: bool
    waits: bool
    calls: tuple[Call, ...]
    stack: str | None
    age_seconds: float | None
    state: str = ""

    @property
    def where(self) -> str:
        """The innermost call that is not of a library, or else the innermost one; empty without a stack."""
        own = [call for call in self.calls if not call[0].startswith("<")]
        calls = own or list(self.calls)
        return "" if not calls else f"{calls[-1][1]}, {PurePath(calls[-1][0].removeprefix('<')).name}"

    def sentence(self) -> str:
        """Return a clause that says where these ranks are; the stack of a silent one is too old for that."""
        is_one = len(self.ranks) == 1
        where = f" ({self.where})" if self.where else ""
        if self.is_silent:
            state = self.state or "silent"
            return f"{named(self.ranks)} {'is' if is_one else 'are'} {state}, last seen in {self.stage}"
        if self.waits:
            return f"{named(self.ranks)} {'waits' if is_one else 'wait'} in {self.stage}{where}"
        return f"{named(self.ranks)} {'is' if is_one else 'are'} in {self.stage}{where}"

    def details(self) -> dict[str, Any]:
        """Return this group for an event, without the whole stack."""
        values = {"ranks": list(self.ranks), "stage": self.stage.value, "is_silent": self.is_silent}
        return {**values, "state": self.state, "where": self.where}


def group_stacks(
    statuses: Iterable[RankStatus], silent: dict[int, str], waiting: Iterable[int]
) -> tuple[StackGroup, ...]:
    """Group the ranks; `silent` has the state of those that do not report, `waiting` are those that wait for others.

    Groups of silent ranks and of those that wait for nobody come first, then the larger ones.
    """
    members: dict[tuple[object, ...], list[RankStatus]] = {}
    waiting = set(waiting)
    for status in statuses:
        key = (status.stage, silent.get(status.rank), status.rank in waiting, calls_of(status.stack))
        members.setdefault(key, []).append(status)
    groups = [_group(found, silent, waiting) for found in members.values()]
    return tuple(sorted(groups, key=lambda group: (group.waits and not group.is_silent, -len(group.ranks))))


def _group(members: Sequence[RankStatus], silent: dict[int, str], waiting: set[int]) -> StackGroup:
    first = members[0]
    return StackGroup(
        ranks=tuple(status.rank for status in members),
        stage=first.stage,
        is_silent=first.rank in silent,
        waits=first.rank in waiting,
        calls=calls_of(first.stack),
        stack=first.stack,
        age_seconds=first.stack_age_seconds,
        state=silent.get(first.rank, ""),
    )


def calls_of(stack: str | None) -> tuple[Call, ...]:
    """Return the calls of a stack, outermost first; the file of a library's call begins with `<`."""
    return tuple((_file(match["path"]), match["function"]) for match in _CALL.finditer(stack or ""))


def _file(path: str) -> str:
    """Return the path without the folders in which a machine keeps its libraries, or the program."""
    if _LIBRARY.search(path):
        return f"<{_PACKAGES.sub('', path)}"
    return "/".join(PurePath(path).parts[-OWN_PARTS:])


def sentence_of(groups: Sequence[StackGroup]) -> str:
    """Return one sentence about all groups; empty without any."""
    if not groups:
        return ""
    clauses = [group.sentence() for group in groups[:MAX_LISTED_GROUPS]]
    more = len(groups) - MAX_LISTED_GROUPS
    clauses += [f"{more} more groups are in the file"] if more > 0 else []
    return f"By their stacks, {'; '.join(clauses)}."


def named(numbers: Sequence[int]) -> str:
    """return `rank 3`, or `ranks 0, 1, 2`; of many the first ones and how many more there are."""
    listed = ", ".join(map(str, numbers[:MAX_LISTED_RANKS]))
    more = f" and {len(numbers) - MAX_LISTED_RANKS} more" if len(numbers) > MAX_LISTED_RANKS else ""
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {listed}{more}"

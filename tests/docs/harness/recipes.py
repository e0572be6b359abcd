"""The code blocks of docs/contributing.md as edits: each says in its first line where its text belongs.

    # api/app.py: at the end of NAME        before the closing bracket, or behind the last statement, of NAME
    # api/app.py: in NAME, after TEXT       below the first line of NAME that contains TEXT (`before`: above it)
    # api/app.py: after TEXT                the same in the whole file (`instead of`: in its place)
    # api/app.py: new file

In Markdown the line is a comment: `<!-- docs/api.md: after TEXT -->`. A block may hold several such lines.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^( *)```(?:python|markdown)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_ADDRESS = re.compile(r"^(?:# |<!-- )(?P<path>[\w./]+\.(?:py|md)): (?P<place>.+?)(?: -->)?$", re.MULTILINE)
_PLACE = re.compile(r"(?:in (?P<name>\w+), )?(?P<how>after|before|instead of) (?P<text>.+)")


@dataclass(frozen=True)
class Edit:
    """Text for one place of one file."""

    path: str
    place: str
    text: str

    def apply(self, root: Path) -> None:
        """Edit the file below `root`; raises `ValueError` where the place is not there."""
        path = root / self.path
        if self.place == "new file":
            path.write_text(self.text.lstrip("\n"))
            return
        lines = path.read_text().splitlines(keepends=True)
        start, end = self._where(lines)
        path.write_text("".join([*lines[:start], self.text, self._blank_lines, *lines[end:]]))

    @property
    def _blank_lines(self) -> str:
        """What stands between a class or a function and the next."""
        begin = re.match(r"( *)(?:class|def|@)\b", self.text)
        return "" if begin is None else "\n" if begin[1] else "\n\n"

    def _where(self, lines: Sequence[str]) -> tuple[int, int]:
        """The lines that the text replaces: none of them where it is only put in."""
        if name := re.fullmatch(r"at the end of (\w+)", self.place):
            return (_span(lines, name[1], self.path)[1],) * 2
        match = _PLACE.fullmatch(self.place)
        if match is None:
            raise ValueError(f"{self.path}: {self.place!r} names no place")
        first, last = _span(lines, match["name"], self.path) if match["name"] else (0, len(lines))
        found = next((number for number in range(first, last) if match["text"] in lines[number]), None)
        if found is None:
            raise ValueError(f"{self.path} has no line with {match['text']!r}")
        above = found
        while lines[above - 1].lstrip().startswith("@"):  # what decorates a function belongs to it
            above -= 1
        return {"after": (found + 1,) * 2, "before": (above,) * 2, "instead of": (found, found + 1)}[match["how"]]


def edits(markdown: str) -> Iterator[Edit]:
    """What the blocks of a page say, in their order; blocks without an address are no edits."""
    for indentation, indented in _BLOCK.findall(markdown):
        block = re.sub(f"^{indentation}", "", indented, flags=re.MULTILINE)
        addresses = list(_ADDRESS.finditer(block))
        ends = [*(address.start() for address in addresses[1:]), len(block)]
        for address, end in zip(addresses, ends, strict=True):
            yield Edit(address["path"], address["place"], block[address.end() + 1 : end])


def _span(lines: Sequence[str], name: str, path: str) -> tuple[int, int]:
    """The first line of what has this name, and the line before which something can be added to it."""
    for node in ast.walk(ast.parse("".join(lines))):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node.lineno - 1, node.end_lineno or 0
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in [ast.unparse(item) for item in targets if item]:
            return node.lineno - 1, (node.end_lineno or 0) - 1
    raise ValueError(f"{path} has no {name}")

"""What tests of the pages read: the source as syntax trees, a page's sections and tables."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

PACKAGES = ("api", "ddp", "service")


def modules(repository: Path, below: str = "") -> Iterator[Path]:
    """Every module of the product, or those below one folder."""
    for folder in [below] if below else PACKAGES:
        yield from sorted((repository / folder).rglob("*.py"))


@cache
def classes_and_methods(repository: Path) -> frozenset[str]:
    """`Class` and `Class.method` of every class; attributes that are declared or set in `__init__` count too."""
    known: set[str] = set()
    for path in modules(repository):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                known |= {node.name, *(f"{node.name}.{member}" for member in _members(node))}
    return frozenset(known)


def _members(node: ast.ClassDef) -> Iterator[str]:
    for item in ast.walk(node):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            yield item.name
        elif isinstance(item, ast.AnnAssign | ast.Assign):
            for target in [item.target] if isinstance(item, ast.AnnAssign) else item.targets:
                yield ast.unparse(target).removeprefix("self.")


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = heading.split()[0]
    _, _, rest = page.partition(f"\n{heading}\n")
    assert rest, heading
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> list[list[str]]:
    """The rows of the first table in a text, without its heading, as cells."""
    lines = text[text.index("\n| ") + 1 :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:]]


def top_folders(repository: Path) -> list[Path]:
    """The folders at the top that belong to the repository."""
    ignored = [line.strip().strip("/") for line in (repository / ".gitignore").read_text().splitlines()]
    return [
        path
        for path in repository.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not any(fnmatch(path.name, name) for name in ignored)
    ]

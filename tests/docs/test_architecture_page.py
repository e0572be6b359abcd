"""docs/architecture.md: modules and names that it mentions exist, and what it lists is complete."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from ddp.training import builder
from service.commands import Kind
from service.store.tables import metadata


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/architecture.md").read_text()


def test_every_module_that_is_named_exists(page: str, repository: Path) -> None:
    named = set(re.findall(r"`((?:api|ddp|service|tests)/[\w/]*\w\.py)`", page))
    assert len(named) > 20

    assert [path for path in sorted(named) if not (repository / path).is_file()] == []


def test_every_class_and_method_that_is_named_exists(page: str, repository: Path) -> None:
    known: set[str] = set()
    for path in (path for folder in ("api", "ddp", "service") for path in (repository / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                known |= {node.name, *(f"{node.name}.{item.name}" for item in node.body if hasattr(item, "name"))}
    named = set(re.findall(r"`([A-Z][a-z]\w+(?:\.[a-z_]+)?)`", page))
    assert {"Control.send", "Ledger.turn"} <= named

    assert named <= known


def test_every_table_of_the_store_has_one_row(page: str) -> None:
    _, _, rest = page.partition("| table | one row per |\n")
    rows = re.findall(r"^\| `([a-z_]+)` \|", rest.partition("\n\n")[0], re.MULTILINE)

    assert rows == list(metadata.tables)


def test_order_of_commands_within_one_boundary_is_that_of_the_code(page: str) -> None:
    first, *others = Kind
    text = " ".join(page.split())
    assert f"A {first} goes first and alone" in text
    assert f"keeps the order {', '.join(others)}." in text


def test_every_part_whose_state_is_saved_is_named(page: str) -> None:
    (saved,) = (
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(builder.build_components)))
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "saved_parts"
    )
    assert isinstance(saved, ast.Dict)
    parts = {str(ast.literal_eval(key)).replace("_", " ") for key in saved.keys if key is not None}
    _, _, rest = page.partition("A state holds:\n")
    rows = re.findall(r"^\| ([a-z, ]+) \|", rest.partition("\n## ")[0], re.MULTILINE)

    assert {name for row in rows for name in row.split(", ")} - {"part"} == parts | {"generators", "extra"}

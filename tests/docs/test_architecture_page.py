"""docs/architecture.md: modules and names that it mentions exist, and what it lists is complete."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddp.training.components import SavedComponents
from service.commands import Kind
from service.store.tables import metadata
from tests.docs.harness.source import classes_and_methods, modules, section, table, top_folders

WAYS = ("a step", "a command", "an event", "a request")
NAMES_OF_OTHERS = {"PostgreSQL"}
"""Words in a picture that look like a class of ours."""


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/architecture.md").read_text()


def test_every_module_that_is_named_exists(page: str, repository: Path) -> None:
    named = set(re.findall(r"`((?:api|ddp|service|tests)/[\w/]*\w\.py)`", page))
    assert len(named) > 20

    invented = {path for path in named if path.endswith(("/x.py", "/test_b.py"))}  # of the rules
    assert [path for path in sorted(named - invented) if not (repository / path).is_file()] == []


def test_every_class_and_method_that_is_named_exists(page: str, repository: Path) -> None:
    known = classes_and_methods(repository)
    named = set(re.findall(r"`([A-Z][a-z]\w+(?:\.[a-z_]+)?)`", page))
    assert {"RankAgreement.send", "StepMetricsBuffer.exchange"} <= named

    assert named <= known


def test_the_tree_is_the_folders_and_loose_modules_each_with_a_clause(page: str, repository: Path) -> None:
    shown = dict(tree(page))
    assert all(shown.values())

    packages = {path for top in ("api", "bench", "ddp", "service") for path in folders(repository / top)}
    loose = {path for top in ("api", "ddp", "service") for path in (repository / top).glob("*.py")}
    expected = {path.relative_to(repository).as_posix() for path in packages | loose if path.name != "__init__.py"}
    assert set(shown) == expected | {path.name for path in top_folders(repository)}
    assert list(shown) == [path for path, _ in sorted(shown.items(), key=lambda item: sorting(item[0]))]


def test_the_reading_order_takes_the_hour_that_it_says(page: str) -> None:
    text = section(page, "## Reading order")

    assert "One hour" in text
    assert sum(map(int, re.findall(r"\*\*(\d+) minutes", text))) == 60
    assert page.index("## Reading order") < page.index("## The processes")


def test_the_words_that_stay_ours_are_explained_once(page: str) -> None:
    rows = [words for words, _ in table(section(page, "## Glossary"))]
    explained = [word for words in rows for word in words.split(", ")]

    assert len(explained) == len(set(explained))
    assert {
        "run", "start", "branch", "rank", "world", "LR", "KI", "GT", "step boundary", "control word", "rollup", "pin",
        "record", "snapshot", "log point",
    } <= set(explained)  # fmt: skip


def test_no_word_is_explained_that_nobody_uses(page: str, repository: Path) -> None:
    others = "".join(path.read_text() for path in (repository / "docs").glob("*.md"))
    text = (others + (repository / "README.md").read_text()).replace(section(page, "## Glossary"), "")

    words = [word for words, _ in table(section(page, "## Glossary")) for word in words.split(", ")]
    assert [word for word in words if not re.search(rf"\b{word}", text)] == []


def test_every_thread_of_ours_has_a_row_and_no_other_does(page: str, repository: Path) -> None:
    rows = table(section(page, "## The threads"))
    named = {name for first, *_ in rows for name in re.findall(r"^`([a-z -]+)`", first)}

    assert named == {name for path in modules(repository) for name in started_threads(path)}
    assert all(all(row) for row in rows if not row[0].startswith("**"))


def test_every_way_has_a_picture_of_parts_that_exist(page: str, repository: Path) -> None:
    known = classes_and_methods(repository)
    for way in WAYS:
        (picture, *_) = re.findall(r"^```\n(.*?)^```", section(page, f"## The way of {way}"), re.DOTALL | re.MULTILINE)
        classes = set(re.findall(r"\b[A-Z][a-z]+[A-Z]\w+(?:\.[a-z_]+)?", picture)) - NAMES_OF_OTHERS
        files = set(re.findall(r"\b(?:api|ddp|service)/[\w/]+\.py", picture))
        assert classes, way
        assert classes <= known, way
        assert [path for path in files if not (repository / path).is_file()] == []


def test_the_reasons_that_a_newcomer_asks_for_are_given(page: str) -> None:
    questions = re.findall(r"^\*\*(Why .+?\?)\*\*", section(page, "## Why it is so"), re.MULTILINE)

    asked = ("gloo group", "bits", "no ORM", "one API process", "gunicorn", "recorder thread", "files")
    assert [word in question for word, question in zip(asked, questions, strict=True)] == [True] * 7


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
    source = textwrap.dedent(inspect.getsource(SavedComponents.by_key))
    (saved,) = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict))
    parts = {str(ast.literal_eval(key)).replace("_", " ") for key in saved.keys if key is not None}
    _, _, rest = page.partition("A state holds:\n")
    rows = re.findall(r"^\| ([a-z, ]+) \|", rest.partition("\n## ")[0], re.MULTILINE)

    assert {name for row in rows for name in row.split(", ")} - {"part"} == parts | {"generators", "extra"}


def tree(page: str) -> Iterator[tuple[str, str]]:
    """(path, clause) of every line of the tree at the head."""
    (block,) = re.findall(r"^```\n\.\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    parents: list[str] = []
    for line in block.splitlines():
        match = re.fullmatch(r"((?:[│ ]   )*)[├└]── (\S+) +(.+)", line)
        assert match is not None, line
        parents[len(match[1]) // 4 :] = [match[2]]
        yield "/".join(parents), match[3]


def folders(top: Path) -> Iterator[Path]:
    """A package, the packages in it, and what it serves to browsers; may name a folder repeatedly."""
    yield from (path.parent for path in top.rglob("*.py"))
    yield from (path for path in top.iterdir() if path.name in {"static", "templates"})


def sorting(path: str) -> tuple[tuple[bool, str], ...]:
    """Loose files before folders at each level, each by name."""
    *above, last = path.split("/")
    return (*((True, name) for name in above), (not last.endswith(".py"), last))


def started_threads(path: Path) -> Iterator[str]:
    """The names that a module gives to the threads it starts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].endswith("Thread"):
            values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
            yield from (item.value for item in values if isinstance(item, ast.Constant) and isinstance(item.value, str))

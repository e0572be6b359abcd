"""docs/contributing.md: what it names exists. That its recipes work is tested in test_contributing_recipes.py."""

import importlib.util
import re
from pathlib import Path

import pytest

from ddp.workload import Workload
from tests.docs.harness.source import classes_and_methods, section

RECIPES = ("A metric", "A record key", "A route", "A setting", "A command", "A workload")


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/contributing.md").read_text()


@pytest.fixture(scope="module")
def prose(page: str) -> str:
    """The page without its worked examples, which name what is not there yet."""
    return re.sub(r"^ *```(?:python|markdown)\n.*?^ *```$", "", page, flags=re.DOTALL | re.MULTILINE)


def test_the_page_at_the_top_is_two_lines_that_lead_there(repository: Path) -> None:
    heading, *lines = (repository / "CONTRIBUTING.md").read_text().strip().splitlines()

    assert heading == "# Contributing"
    assert len([line for line in lines if line]) == 2
    assert "(docs/contributing.md)" in lines[-1]


def test_every_file_and_folder_that_is_named_exists(prose: str, repository: Path) -> None:
    named = set(re.findall(r"\b(?:api|ddp|deploy|docs|examples|service|tests)/[\w./-]*\w", prose))
    assert len(named) > 20

    assert [path for path in sorted(named) if not (repository / path).exists()] == []


def test_every_class_and_method_that_is_named_exists(prose: str, repository: Path) -> None:
    named = set(re.findall(r"`([A-Z][a-z]\w+(?:\.[a-z_]+)?)`", prose)) - {"Kind"}
    assert {"SnapshotBuilder.build", "StepBoundary"} <= named

    assert named <= classes_and_methods(repository)


def test_every_function_and_table_that_is_named_is_in_the_file_named_beside_it(prose: str, repository: Path) -> None:
    pairs = re.findall(r"`([a-zA-Z_]{5,})`\s+(?:in|of|\()\s?`([\w/]+\.py)`", prose)
    assert len(pairs) >= 5

    for name, path in pairs:
        assert re.search(rf"^(?:def |class )?{name}\b", (repository / path).read_text(), re.MULTILINE), (name, path)


def test_every_target_and_program_that_is_named_exists(page: str, repository: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", page, re.MULTILINE))
    assert {"setup", "check", "test", "lint"} <= named
    assert named <= targets

    programs = set(re.findall(r"python -m ([\w.]+)", page))
    assert programs
    assert [name for name in programs if importlib.util.find_spec(name) is None] == []


def test_the_members_of_a_workload_are_counted(prose: str) -> None:
    members = [name for name in {*Workload.__annotations__, *vars(Workload)} if not name.startswith("_")]

    assert f"the {len(members)} members of `Workload`" in " ".join(prose.split())


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_its_numbered_steps(page: str, recipe: str) -> None:
    steps = re.findall(r"^(\d+)\. ", section(page, f"### {recipe}"), re.MULTILINE)

    assert [int(number) for number in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 3

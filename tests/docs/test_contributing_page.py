"""docs/contributing.md: what it names exists, and whoever follows its recipes in a copy of the repository is done."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ddp.workload import Workload
from tests.docs.harness.recipes import edits
from tests.docs.harness.source import classes_and_methods, section, top_folders

RECIPES = ("A metric", "A record key", "A route", "A setting", "A command", "A workload")
TESTS = (
    "tests/docs/harness/recipes_followed.py",
    "tests/docs/test_architecture_page.py",
    "tests/docs/test_configuration_page.py",
    "tests/docs/test_records_page.py",
    "tests/docs/test_where_to_find_what.py",
    "tests/service/config/test_docs.py",
    "tests/service/config/test_live_settings.py",
    "tests/service/run/test_record.py",
    "tests/service/test_commands.py",
    "tests/api/behaviour/test_client_routes.py",
    "tests/api/behaviour/test_documentation.py",
    "tests/api/openapi/test_document.py::test_the_committed_document_is_that_of_the_code",
    "tests/api/routes/run/test_commands.py::test_an_unknown_command_names_those_that_there_are",
    "tests/api/routes/run/test_settings.py::test_the_page_names_all_that_can_change_and_nothing_else",
    "tests/ddp/recording/trackers/test_tensorboard.py::test_every_curve_of_a_run_has_a_tag_of_its_own",
)
"""What notices a place that was forgotten, and what the changes are for."""


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
    assert named - {"check"} <= targets  # `check` is on its way into the Makefile

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


def copied(repository: Path, target: Path) -> Path:
    """A copy of the repository without what git ignores; what the examples cannot touch is linked."""
    target.mkdir()
    for path in repository.iterdir():
        if path.is_file() and path.name != ".env":
            shutil.copy(path, target)
    for folder in top_folders(repository):
        shutil.copytree(folder, target / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def run(copy: Path, *command: str) -> str:
    """Run a program of Python in the copy, which is what it imports; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_whoever_follows_the_recipes_forgets_nothing(page: str, repository: Path, tmp_path: Path) -> None:
    copy = copied(repository, tmp_path / "copy")

    changes = list(edits(page))
    for edit in changes:
        edit.apply(copy)
    for program in ("service.config.docs", "api.server.write_openapi"):
        assert f"python -m {program}" in page
        run(copy, program)
    python = sorted({edit.path for edit in changes if edit.path.endswith(".py")})
    run(copy, "ruff", "check", "--fix", "--quiet", *python)
    run(copy, "ruff", "format", "--quiet", *python)

    run(copy, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS)

"""Whoever follows the recipes of docs/contributing.md forgets nothing: they are followed in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.harness.recipes import edits
from tests.docs.harness.source import top_folders

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
    "tests/ddp/training/test_command_executor.py",
    "tests/ddp/recording/trackers/test_tensorboard.py::test_every_curve_of_a_run_has_a_tag_of_its_own",
)
"""What notices a place that was forgotten, and what the changes are for."""


def copied(repository: Path, target: Path) -> Path:
    """Copy the repository without what git ignores."""
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


def test_whoever_follows_the_recipes_forgets_nothing(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs/contributing.md").read_text()
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

    if (known := repository / ".mypy_cache").is_dir():  # of `make lint`: saves the analysis of all packages
        shutil.copytree(known, copy / known.name)
    run(copy, "mypy", *(path for path in python if not path.startswith("tests/")))
    # A folder of its own: pytest would else remove there what earlier suites left, which can take minutes.
    base = f"--basetemp={tmp_path / 'pytest'}"
    run(copy, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", base, *TESTS)

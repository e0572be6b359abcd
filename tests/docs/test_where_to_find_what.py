"""A person who has never seen the tree finds a file within a minute: README leads to a table whose answers are true.

The answers are looked up in the code, so that a function that moves takes its row with it.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from api.app import create_app
from api.metrics.catalog import METRICS
from service.cli import leitstand
from service.config.settings import RunConfig
from service.store.tables import metadata
from tests.docs.harness.source import modules, section, table

HEADING = "## Where to find what"
FIRST_SCREENS = 130
"""Lines of the page within which the table stands: the tree and the reading order come before it."""


@pytest.fixture(scope="module")
def rows(repository: Path) -> dict[str, str]:
    """{what is looked for: file} of the table."""
    found = table(section((repository / "docs/architecture.md").read_text(), HEADING))
    return {what: path.strip("`") for what, path in found}


def where(repository: Path, below: str, holds: Callable[[ast.AST], bool]) -> str:
    """The only module below a folder with a node for which this holds."""
    (found,) = (path for path in modules(repository, below) if any(map(holds, ast.walk(ast.parse(path.read_text())))))
    return found.relative_to(repository).as_posix()


def calls(name: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name


def reads(attribute: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Attribute) and node.attr == attribute


def declares(name: str) -> Callable[[ast.AST], bool]:
    return lambda node: (
        (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name)
        or (isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets))
        or (isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name)
    )


def mentions(text: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Constant) and isinstance(node.value, str) and text in node.value


def maps_key(key: str, value: str) -> Callable[[ast.AST], bool]:
    """A dictionary that gives `key` this value."""
    return lambda node: (
        isinstance(node, ast.Dict)
        and (repr(key), value)
        in {(ast.unparse(name or node), ast.unparse(to)) for name, to in zip(node.keys, node.values, strict=True)}
    )


def answering(method: str, path: str, repository: Path) -> str:
    """The module of the view that answers a request."""
    app = create_app(RunConfig())
    endpoint, _ = app.url_map.bind("127.0.0.1").match(path, method=method)
    return Path(app.view_functions[endpoint].__code__.co_filename).relative_to(repository).as_posix()


def test_the_issues_five_questions_have_a_row_each_with_the_answer_of_the_code(
    rows: dict[str, str], repository: Path
) -> None:
    answers = {
        "the rows about ranks in `/metrics` (`leitstand_rank_…`)": where(
            repository, "api/metrics", mentions("leitstand_rank_step")
        ),
        "the setting `VAL_STEP_EVERY`: who reads it": where(repository, "ddp", reads("val_step_every")),
        "the answer to `POST /validate`": answering("POST", "/validate", repository),
        "the writing of `Statistik_<step>.json`": where(repository, "ddp", calls("encode_record")),
        "the retries of a webhook": where(repository, "api", calls("lease")),
    }

    assert {what: rows[what] for what in answers} == answers


def test_the_other_rows_are_true_too(rows: dict[str, str], repository: Path) -> None:
    answers = {
        "the setting `VAL_STEP_EVERY`: its default and range": where(repository, "service", declares("val_step_every")),
        "the execution of `validate` on all ranks": where(repository, "ddp", declares("CommandExecutor")),
        "the validation and its record": where(repository, "ddp/training", calls("note_validation")),
        "the values of a record": where(repository, "ddp", calls("build_record")),
        "the conditions of an alert": where(repository, "service/alerts", declares("AlertVerdict")),
        "the writing of a checkpoint": where(repository, "ddp", declares("CheckpointWriter")),
        "the text of an error answer and its status": where(repository, "api", declares("PROBLEMS")),
        "the key `v` in the terminal": where(repository, "service", maps_key("v", "Kind.VALIDATE")),
    }

    assert {what: rows[what] for what in answers} == answers
    assert len(rows) == len(answers) + 5


def test_routes_are_where_their_names_say(repository: Path) -> None:
    """The rule for routes; commands share one module, as do routes that are made of one thing."""
    app = create_app(RunConfig())
    for rule in app.url_map.iter_rules():
        file = Path(app.view_functions[rule.endpoint].__code__.co_filename)
        if "routes" not in file.parts or rule.rule in {"/", "/runs/<run>/"}:
            continue
        name = re.split(r"[/.]", rule.rule.removeprefix("/runs/<run>").lstrip("/"))[0].replace("-", "_")
        shared = {"commands", "settings"} if rule.methods and rule.methods & {"POST", "PATCH"} else set()
        several = {"": "runs", "livez": "health", "readyz": "health", "docs": "openapi", "schema": "openapi"}
        assert file.stem in {several.get(name, name), *shared} or "compare" in rule.rule, rule.rule


def test_metrics_tables_and_commands_are_where_the_rules_say(repository: Path) -> None:
    queries = {path.stem for path in (repository / "service/store/queries").glob("*.py")}
    commands = [leitstand.commands[name] for name in leitstand.commands]

    for metric in METRICS:
        assert where(repository, "api/metrics/families", mentions(metric.name))
    assert {name for name in metadata.tables if "_" not in name} - {"deliveries"} <= queries
    folders = {command.callback.__module__.rpartition(".")[0] for command in commands if command.callback}
    assert folders == {"service.cli", "service.cli.stats", "service.cli.stats.provenance", "service.cli.watch"}


def test_the_table_stands_near_the_head_and_the_readme_leads_there(repository: Path) -> None:
    page = (repository / "docs/architecture.md").read_text()
    readme = (repository / "README.md").read_text()

    assert page.splitlines().index(HEADING) < FIRST_SCREENS
    assert "(docs/architecture.md#where-to-find-what)" in readme
    assert "(docs/contributing.md)" in readme


def test_every_setting_is_found_by_the_search_that_the_page_gives(repository: Path) -> None:
    text = "".join(path.read_text() for path in modules(repository) if path.name != "settings.py")

    assert [item.name for item in fields(RunConfig) if not re.search(rf"\b{item.name}\b", text)] == []

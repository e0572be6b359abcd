"""docs/api.md names everything that the API has."""

import re
from pathlib import Path

import pytest

from api.app import create_app
from api.http.problem_types import PROBLEMS
from api.metrics.catalog import METRICS
from api.runs.context import PREFIX
from service.commands import Kind
from service.config.settings import RunConfig
from service.run.record_schema import FIELDS
from service.run.state import RunState


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "api.md").read_text(encoding="utf-8")


def test_every_route_is_documented_with_its_method(page: str, tmp_path: Path) -> None:
    app = create_app(RunConfig(data_root=tmp_path))

    routes = {
        f"`{method} {rule.rule}`"
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(PREFIX)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {route for route in routes if route not in page} == set()
    assert routes == set(re.findall(r"`(?:GET|POST|PATCH|DELETE) /[^`?]*`", section(page, "Routes")))


def test_every_problem_is_documented_with_its_status(page: str) -> None:
    rows = dict(re.findall(r"^\| `/problems/([a-z-]+)` \| (\d+) \|", page, flags=re.MULTILINE))

    assert {slug: int(status) for slug, status in rows.items()} == {slug: it.status for slug, it in PROBLEMS.items()}


def test_every_metric_is_documented_with_its_type_labels_and_meaning(page: str) -> None:
    rows = re.findall(
        r"^\| `(leitstand_\w+)(?:\{([\w,]+)\})?` \| (\w+) \| ([^|;]+?)(?:;[^|]*)? \|$", page, flags=re.MULTILINE
    )

    documented = [
        (name, tuple(filter(None, labels.split(","))), kind, text.lower()) for name, labels, kind, text in rows
    ]
    assert documented == [(row.name, row.labels, row.kind, row.meaning.lower()) for row in METRICS]


def test_the_order_of_commands_is_that_of_the_code(page: str) -> None:
    first, *others = Kind

    assert f"A {first} is executed alone" in section(page, "Commands")
    assert f"Otherwise the order is:\n{', '.join(others)}.\n" in section(page, "Commands")


def test_every_state_of_a_run_and_every_key_of_a_list_entry_is_documented(page: str, repository: Path) -> None:
    assert [state for state in RunState if f"`{state}`" not in section(page, "State")] == []
    entry = set(re.findall(r"`(\w+)`", section(page, "Records")))
    assert {"name", "step", "size_bytes", "modified_at", "sha256", "trigger", "psnr_ki_db", "url"} <= entry
    assert {"quality_ki_value", "validation_loss_value"} <= entry & {field.name for field in FIELDS}


def section(page: str, title: str) -> str:
    """The part of the page under a heading, up to the next heading."""
    return re.split(rf"^#+ {title}\n", page, flags=re.MULTILINE)[1].partition("\n#")[0]

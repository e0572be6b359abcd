"""`/problems/<slug>`: every type that an error names leads to an explanation."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from api.http.problem_types import PROBLEMS
from service.store.store import Store

MakeClient = Callable[..., FlaskClient]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("slug", PROBLEMS)
def test_every_type_is_explained_to_programs_and_people(make_client: MakeClient, slug: str) -> None:
    client = make_client(api_token="chosen")

    answer, page = client.get(f"/problems/{slug}"), client.get(f"/problems/{slug}", headers={"Accept": BROWSER})

    explanation = answer.get_json()
    assert (explanation["type"], explanation["status"]) == (f"/problems/{slug}", PROBLEMS[slug].status)
    assert explanation["advice"].endswith(".")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert PROBLEMS[slug].title in page.text.replace("&#39;", "'")
    assert "`" not in page.text
    assert "Accept" in answer.headers["Vary"]


def test_the_type_of_an_error_leads_to_its_explanation(client: FlaskClient, store: Store) -> None:
    problem = client.get("/series?names=loss").get_json()

    assert client.get(problem["type"]).get_json()["title"] == problem["title"]


def test_every_type_that_the_code_and_nginx_name_is_in_the_table(repository: Path) -> None:
    code = "".join(path.read_text() for path in (repository / "api").rglob("*.py"))
    nginx = "".join(path.read_text() for path in (repository / "deploy/nginx").iterdir())
    named = {*re.findall(r'(?:ProblemError|problem_response)\(\s*"([a-z-]+)"', code)}
    named |= {*re.findall(r'"type":"/problems/([a-z-]+)"', nginx)}

    assert len(named) > 15
    assert named <= PROBLEMS.keys()


@pytest.mark.parametrize("slug", ["no-such", "", "<script>", "no-run/"])
def test_an_unknown_type_is_not_found(client: FlaskClient, slug: str) -> None:
    assert client.get(f"/problems/{quote(slug)}").status_code == 404

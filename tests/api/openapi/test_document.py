"""The published contract: complete, valid, committed, and readable without a network."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from flask import Flask
from flask.testing import FlaskClient
from selenium.webdriver import Chrome

from api.app import create_app
from api.http.operation import operation_of
from api.http.problem_types import PROBLEMS
from api.openapi import html
from api.openapi.document import build, encoded
from api.routes import openapi
from api.runs.context import PREFIX
from service.config.settings import RunConfig
from tests.api.harness.browsing import browser_is_installed, complaints
from tests.api.harness.conforming import resolved
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return create_app(RunConfig(data_root=tmp_path_factory.mktemp("nothing")))


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    return build(app)


def test_the_committed_document_is_that_of_the_code(document: dict[str, Any], repository: Path) -> None:
    committed = (repository / "docs" / "openapi.json").read_text(encoding="utf-8")

    assert encoded(document) == committed, (
        "the contract has changed: run `python -m api.server.write_openapi` and look at the diff"
    )


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    openapi_spec_validator.validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_route_has_a_contract_and_is_in_the_document(app: Flask, document: dict[str, Any]) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]

    assert [rule.rule for rule in rules if operation_of(app, rule.endpoint) is None] == []
    plain = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) for rule in rules if not rule.endpoint.startswith(PREFIX)}
    assert plain == set(document["paths"])


def test_every_operation_says_what_it_answers_and_how_it_refuses(document: dict[str, Any]) -> None:
    described = [operation for methods in document["paths"].values() for operation in methods.values()]

    assert len({operation["operationId"] for operation in described}) == len(described)
    for operation in described:
        assert operation["summary"].endswith("."), operation
        assert any(status < "400" for status in operation["responses"]), operation
        assert {"400", "422", "500"} <= operation["responses"].keys()
        responses = {status: resolved(document, response) for status, response in operation["responses"].items()}
        for status, response in responses.items():
            assert response["description"], operation
            if status >= "400":
                assert set(response["content"]) == {"application/problem+json"}
        scopes = [scope for scopes in operation["security"] for scope in scopes.get("token", ())]
        if scopes:
            assert {"401", "429"} <= operation["responses"].keys()
        if scopes == ["control"]:
            assert "insufficient-scope" in responses["403"]["description"]


def test_routes_of_a_run_are_there_below_its_name_and_the_others_are_not(app: Flask, document: dict[str, Any]) -> None:
    below = {rule.rule.removeprefix("/runs/<run>") for rule in app.url_map.iter_rules() if "<run>" in rule.rule}
    only_global = {
        path
        for path, methods in document["paths"].items()
        if all(operation.get("servers") == [{"url": "/"}] for operation in methods.values())
    }

    assert {"/state", "/validate", "/statistics", "/metrics", "/"} <= below
    assert {"/runs", "/livez", "/openapi.json", "/docs"} <= only_global
    assert only_global & below == set()


def test_the_server_publishes_the_document_and_says_when_it_is_unchanged(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    first = client.get("/openapi.json")

    assert first.get_json() == document
    again = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_what_everybody_may_ask_for_is_made_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [client.get(path).data for path in ("/openapi.json", "/docs")]
    monkeypatch.delattr(openapi, "build")
    monkeypatch.delattr(openapi, "encoded")
    monkeypatch.delattr(openapi, "html")

    assert [client.get(path).data for path in ("/openapi.json", "/docs")] == first


def test_every_answers_schema_is_published_alone(client: FlaskClient, document: dict[str, Any]) -> None:
    for name in set(document["components"]["schemas"]) - {"Record"}:
        answer = client.get(f"/schema/{name}.json")

        assert answer.mimetype == "application/schema+json"
        jsonschema.Draft202012Validator.check_schema(answer.get_json())
        assert answer.get_json()["$defs"][name]
    assert client.get("/schema/Nothing.json").status_code == 404


def test_the_page_names_every_route_and_problem_and_needs_nothing_from_elsewhere(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    page = client.get("/docs").get_data(as_text=True)

    assert "<script" not in page
    assert {re.sub("/v-[0-9a-f]{12}/", "/", link) for link in re.findall(r'(?:src|href)="([^"#]+)"', page)} <= {
        "./", "./openapi.json", "./static/icon.svg", "./static/styles/base.css", "./static/styles/docs.css",
        *(f"./problems/{slug}" for slug in PROBLEMS),
    }  # fmt: skip
    for methods in document["paths"].values():
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page
            for content in operation.get("requestBody", {}).get("content", {}).values():
                members = html.resolved(document, content["schema"]).get("properties", {})
                assert [name for name in members if f"<code>{name}</code>" not in page] == []
    assert page.count("<code>run_state</code>") >= 2, "the shapes that have no name are shown too"
    shapes = {f"shape-{name}" for name in document["components"]["schemas"]}
    assert shapes == set(re.findall(r'id="(shape-\w+)"', page)) >= set(re.findall(r'href="#(shape-\w+)"', page))
    assert [slug for slug in PROBLEMS if f"/problems/{slug}" not in page] == []
    assert "`" not in page


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, "integer, from 0"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 60, "default": 1}, "number, above 0 to 60, default 1"),
        ({"type": ["number", "null"], "minimum": 0}, "number, from 0 or null"),
        ({"enum": ["a", "<b>"]}, "one of: a, &lt;b&gt;"),
        ({"anyOf": [{"const": "adaptive"}, {"type": "null"}]}, "&#34;adaptive&#34; or null"),
        (
            {"type": "array", "items": {"$ref": "#/components/schemas/RankEntry"}},
            'list of <a href="#shape-RankEntry">RankEntry</a>',
        ),
        ({"anyOf": [{"type": ["string", "null"]}, {"type": "null"}]}, "string or null"),
        ({}, "any"),
    ],
)
def test_a_schema_is_read_in_a_few_words(schema: dict[str, Any], text: str) -> None:
    assert html.schema_text(schema) == text


def test_a_schemas_meaning_may_stand_in_one_of_several() -> None:
    assert html.meaning_of({"anyOf": [{"type": "null"}, {"type": "string", "description": "a name"}]}) == "a name"
    assert html.meaning_of({"type": "string"}) == ""


def test_a_line_of_curl_asks_for_the_route_with_its_body(document: dict[str, Any]) -> None:
    paths = document["paths"]

    assert html.curl("GET", "/ranks/{rank}/stack", paths["/ranks/{rank}/stack"]["get"]) == (
        "curl -s localhost:5050/ranks/RANK/stack"
    )
    assert html.curl("POST", "/rollback", paths["/rollback"]["post"]) == (
        "curl -s -X POST localhost:5050/rollback -H 'Content-Type: application/json' -d '{\"checkpoint\": \"best\"}'"
    )


@pytest.mark.skipif(not browser_is_installed(), reason="Chromium and its driver are not installed")
def test_the_page_fits_a_screen_and_a_phone_and_a_runs_page_shows_that_run(
    server: Server, browser: Chrome, eventually: Callable[..., None]
) -> None:
    for width in (1280, 420):
        browser.set_window_size(width, 900)
        browser.get(f"{server.url}/docs")
        sheet = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert sheet[0] <= sheet[1]
    browser.get(f"{server.url}/runs/{RUN_ID}/")
    asked = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)"
    shown = "return document.getElementById('run-button').textContent"
    eventually(lambda: RUN_ID in browser.execute_script(shown), what="the run's name on its page")
    assert f"/runs/{RUN_ID}/state" in browser.execute_script(asked)
    assert complaints(browser) == []


def test_the_documents_encoding_is_strict_json(document: dict[str, Any]) -> None:
    json.loads(encoded(document), parse_constant=pytest.fail)

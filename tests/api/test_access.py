"""Token, Host, Origin, security headers, and where the server may listen."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from service.addresses import is_loopback, require_safe_address
from service.errors import SettingError
from service.settings import RunConfig
from service.store import Store
from tests.api.example_run import RUN_ID

TOKEN = "correct horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "path", ["/state", "/statistics", "/statistics/latest", "/series", "/metrics", "/commands", "/readyz", "/no-such"]
)
def test_with_a_token_set_nothing_of_a_run_is_told_without_it(
    make_client: Callable[..., FlaskClient], store: Store, path: str
) -> None:
    client = make_client(api_token=TOKEN)

    refused = client.get(path)

    assert (refused.status_code, refused.get_json()["type"]) == (401, "/problems/unauthorized")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.get(path, headers=BEARER).status_code in {200, 404}


def test_a_command_needs_the_token(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client = make_client(api_token=TOKEN)

    assert client.post("/stop").status_code == 401
    assert store.commands(RUN_ID) == []
    assert client.post("/stop", headers=BEARER).status_code == 202


@pytest.mark.parametrize("path", ["/", "/livez", "/schema/statistik.json", "/static/dashboard.js"])
def test_the_page_the_schema_and_the_sign_of_life_are_open(make_client: Callable[..., FlaskClient], path: str) -> None:
    with make_client(api_token=TOKEN).get(path) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"],
)
def test_a_wrong_token_opens_nothing(make_client: Callable[..., FlaskClient], store: Store, given: str) -> None:
    assert make_client(api_token=TOKEN).get("/state", headers={"Authorization": given}).status_code == 401


def test_the_schemes_name_may_be_written_small(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client = make_client(api_token=TOKEN)

    assert client.get("/state", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5050", "127.0.0.1.evil.example", "10.0.0.5", "[::2]", ""]
)
def test_without_a_token_a_foreign_host_name_is_refused(client: FlaskClient, store: Store, host: str) -> None:
    answer = client.get("/state", headers={"Host": host})

    assert (answer.status_code, answer.get_json()["type"]) == (421, "/problems/wrong-host")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:5050", "localhost:8080", "LOCALHOST", "[::1]:5050", "[::1]"])
def test_the_loopback_names_are_served(client: FlaskClient, store: Store, host: str) -> None:
    assert client.get("/state", headers={"Host": host}).status_code == 200


def test_with_a_token_any_host_name_is_served(make_client: Callable[..., FlaskClient], store: Store) -> None:
    headers = {**BEARER, "Host": "trainer.lan:5050"}

    assert make_client(api_token=TOKEN).get("/state", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:6060", "file://", "http://127.0.0.1"]
)
def test_another_web_page_cannot_steer(client: FlaskClient, store: Store, origin: str) -> None:
    answer = client.post("/stop", headers={"Host": "127.0.0.1:5050", "Origin": origin})

    assert (answer.status_code, answer.get_json()["type"]) == (403, "/problems/foreign-origin")
    assert store.commands(RUN_ID) == []


def test_another_web_page_cannot_steer_with_a_token_either(
    make_client: Callable[..., FlaskClient], store: Store
) -> None:
    headers = {**BEARER, "Origin": "http://evil.example"}

    assert make_client(api_token=TOKEN).post("/stop", headers=headers).status_code == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:5050", "HTTP://127.0.0.1:5050"])
def test_the_own_page_can_steer(client: FlaskClient, store: Store, origin: str) -> None:
    headers = {"Host": "127.0.0.1:5050", "Origin": origin}

    assert client.post("/validate", headers=headers).status_code == 202


@pytest.mark.parametrize("path", ["/", "/state", "/no-such", "/static/dashboard.css"])
def test_every_answer_forbids_foreign_scripts_and_frames(client: FlaskClient, store: Store, path: str) -> None:
    with client.get(path) as answer:
        headers = answer.headers

    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_needs_no_inline_script_or_style(client: FlaskClient) -> None:
    page = client.get("/").text

    assert " style=" not in page
    assert "<style" not in page
    assert "onclick" not in page
    assert page.count("<script") == page.count(' src="/static/') - page.count("<img")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "trainer.lan", "127.0.0.1.evil.example"])
def test_an_address_that_others_reach_is_refused_without_a_token(host: str) -> None:
    with pytest.raises(SettingError, match="set API_TOKEN"):
        require_safe_address(RunConfig(api_host=host))
    with pytest.raises(SettingError, match="set API_TOKEN"):
        create_app(RunConfig(api_host=host))
    require_safe_address(RunConfig(api_host=host, api_token=TOKEN))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    require_safe_address(RunConfig(api_host=host))

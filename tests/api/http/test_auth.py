"""Token and scope, Host, Origin, limits, proxies, security headers, and where the server may listen."""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.http.auth import client_name, register
from api.http.operation import operation_of
from api.http.rate_limit import WRONG_TOKENS_PER_MINUTE
from service.auth.hosts import is_loopback, require_safe_address
from service.auth.tokens import TokenFileError, TokenScope, create_token, revoke_token
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.store import Store
from tests.api.harness.example_run import RUN_ID

MakeClient = Callable[..., FlaskClient]

TOKEN = "correct horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "path", ["/state", "/statistics", "/statistics/latest", "/series", "/metrics", "/commands", "/readyz", "/no-such"]
)
def test_with_a_token_set_nothing_of_a_run_is_told_without_it(make_client: MakeClient, store: Store, path: str) -> None:
    client = make_client(api_token=TOKEN)

    refused = client.get(path)

    assert (refused.status_code, refused.get_json()["type"]) == (401, "/problems/unauthorized")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.get(path, headers=BEARER).status_code in {200, 404}


def test_a_command_needs_the_token(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN)

    assert client.post("/stop").status_code == 401
    assert store.commands.find(RUN_ID) == []
    assert client.post("/stop", headers=BEARER).status_code == 202


@pytest.mark.parametrize("path", ["/", "/livez", "/schema/statistik.json", "/static/dashboard/main.js"])
def test_the_page_the_schema_and_the_sign_of_life_are_open(make_client: MakeClient, path: str) -> None:
    with make_client(api_token=TOKEN).get(path) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"],
)
def test_a_wrong_token_opens_nothing(make_client: MakeClient, store: Store, given: str) -> None:
    assert make_client(api_token=TOKEN).get("/state", headers={"Authorization": given}).status_code == 401


def test_the_schemes_name_may_be_written_small(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN)

    assert client.get("/state", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Where a file of tokens goes."""
    return tmp_path / "tokens.json"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def kind_of(answer: TestResponse) -> tuple[int, str]:
    """Status and type of a refusal."""
    return answer.status_code, str(answer.get_json()["type"]).removeprefix("/problems/")


def test_a_token_to_read_cannot_steer(make_client: MakeClient, store: Store, tokens: Path) -> None:
    reading = bearer(create_token(tokens, "grafana", TokenScope.READ))
    client = make_client(api_tokens=str(tokens))

    refused = client.post("/stop", headers=reading)

    assert client.get("/state", headers=reading).status_code == 200
    assert kind_of(refused) == (403, "insufficient-scope")
    assert 'scope="control"' in refused.headers["WWW-Authenticate"]
    assert store.commands.find(RUN_ID) == []


def test_a_token_to_control_can_steer_and_read(make_client: MakeClient, store: Store, tokens: Path) -> None:
    controlling = bearer(create_token(tokens, "anna", TokenScope.CONTROL))
    client = make_client(api_tokens=str(tokens))

    assert client.get("/state", headers=controlling).status_code == 200
    assert client.post("/validate", headers=controlling).status_code == 202


def test_every_way_to_change_something_needs_a_token_to_control(
    make_client: MakeClient, store: Store, tokens: Path
) -> None:
    reading = bearer(create_token(tokens, "grafana", TokenScope.READ))
    client = make_client(api_tokens=str(tokens))
    changing = [
        (method, rule.rule.replace("<run>", RUN_ID).replace("<command_id>", "0" * 32))
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if rule.endpoint != "actions.use"  # its own signature is what it needs
    ]

    answers = {(method, path): client.open(path, method=method, headers=reading) for method, path in changing}

    assert len(changing) >= 16
    assert {asked: kind_of(answer) for asked, answer in answers.items()} == dict.fromkeys(
        changing, (403, "insufficient-scope")
    )


def test_a_route_without_a_contract_needs_all_rights(tokens: Path) -> None:
    reading, controlling = (create_token(tokens, name, TokenScope(name)) for name in ("read", "control"))
    app = create_app(RunConfig(api_tokens=str(tokens)))
    app.add_url_rule("/forgotten", view_func=lambda: "secret", endpoint="forgotten")
    client = app.test_client()

    assert operation_of(app, "forgotten") is None
    assert [
        client.get("/forgotten", headers=bearer(given)).status_code for given in ("none", reading, controlling)
    ] == [
        401,
        403,
        200,
    ]


def test_a_route_that_is_not_there_is_told_to_those_who_may_read(make_client: MakeClient, tokens: Path) -> None:
    reading = bearer(create_token(tokens, "grafana", TokenScope.READ))
    client = make_client(api_tokens=str(tokens))

    assert client.post("/no-such", headers=reading).status_code == 404
    assert client.delete("/state", headers=reading).status_code == 405


def test_a_revocation_takes_effect_at_once(make_client: MakeClient, store: Store, tokens: Path) -> None:
    kept, revoked = (bearer(create_token(tokens, name, TokenScope.READ)) for name in ("kept", "revoked"))
    client = make_client(api_tokens=str(tokens))
    assert client.get("/state", headers=revoked).status_code == 200

    revoke_token(tokens, "revoked")

    assert kind_of(client.get("/state", headers=revoked)) == (401, "unauthorized")
    assert client.get("/state", headers=kept).status_code == 200


@pytest.mark.parametrize("damage", ["gone", "{", "[]", '{"version": 2, "tokens": []}'])
def test_while_the_file_of_tokens_cannot_be_used_it_opens_to_nobody(
    make_client: MakeClient, store: Store, tokens: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = bearer(create_token(tokens, "anna", TokenScope.CONTROL))
    client = make_client(api_tokens=str(tokens), api_token=TOKEN)
    content = tokens.read_bytes()
    if damage == "gone":
        tokens.unlink()
    else:
        tokens.write_text(damage)

    answers = [client.get("/state", headers=given) for given in (known, bearer("other"), known)]

    assert [kind_of(answer) for answer in answers] == [(503, "tokens-unavailable")] * 3
    assert kind_of(client.get("/state")) == (401, "unauthorized")
    assert client.get("/state", headers=BEARER).status_code == 200
    assert [record.levelname for record in caplog.records if "No token of the file" in record.message] == ["ERROR"]
    tokens.write_bytes(content)
    assert client.get("/state", headers=known).status_code == 200


def test_no_token_gets_into_the_log(
    make_client: MakeClient, store: Store, tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    known, wrong = create_token(tokens, "anna", TokenScope.READ), f"lst_{secrets.token_urlsafe(32)}"
    client = make_client(api_tokens=str(tokens), api_token=TOKEN)

    for given in (known, wrong, TOKEN):
        client.get("/state", headers=bearer(given))
        client.post("/stop", headers=bearer(given))
    client.get("/a%0Ab", headers=bearer(wrong))

    assert "GET /state from 127.0.0.1: unknown or expired token" in caplog.text
    assert "/a%0Ab" in caplog.text
    assert not [given for given in (known, wrong, TOKEN) if given in caplog.text]


def from_address(address: str) -> dict[str, str]:
    return {"REMOTE_ADDR": address}


def test_a_chosen_token_cannot_be_guessed_at_speed(make_client: MakeClient, store: Store, tokens: Path) -> None:
    filed = bearer(create_token(tokens, "anna", TokenScope.READ))
    client = make_client(api_tokens=str(tokens), api_token=TOKEN)

    guesses = [client.get("/state", headers=bearer(f"guess {number}")) for number in range(WRONG_TOKENS_PER_MINUTE + 1)]

    assert [answer.status_code for answer in guesses] == [401] * WRONG_TOKENS_PER_MINUTE + [429]
    assert kind_of(guesses[-1]) == (429, "too-many-requests")
    assert int(guesses[-1].headers["Retry-After"]) >= 1
    assert client.get("/state", headers=BEARER).status_code == 429, "the right guess would show"
    assert client.get("/state", headers=filed).status_code == 200, "which nobody guesses"
    assert client.get("/state", headers=BEARER, environ_base=from_address("127.0.0.2")).status_code == 200


def test_asking_without_a_token_is_no_guess(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN)

    assert {client.get("/state").status_code for _ in range(2 * WRONG_TOKENS_PER_MINUTE)} == {401}
    assert client.get("/state", headers=BEARER).status_code == 200


def test_too_many_commands_are_refused_and_reading_goes_on(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_commands_per_minute=2)

    answers = [client.post("/checkpoint") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[-1].headers["Retry-After"]) in range(25, 31)
    assert answers[-1].headers["RateLimit-Policy"] == '"commands";q=2;w=60'
    assert len(store.commands.find(RUN_ID)) == 2
    assert client.get("/state").status_code == 200
    assert client.post("/checkpoint?dry_run=true").status_code == 200, "it only asks whether"


def test_every_answer_that_is_counted_says_what_is_left(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_commands_per_minute=5, api_reads_per_minute=600)

    assert client.post("/checkpoint").headers["RateLimit"] == '"commands";r=4;t=12'
    assert client.post("/stop?wait=soon").headers["RateLimit"].startswith('"commands";r=3;')
    read = client.get("/state").headers
    assert (read["RateLimit-Policy"], read["RateLimit"]) == ('"requests";q=600;w=60', '"requests";r=599;t=1')
    assert "RateLimit" not in client.get("/livez").headers


def test_a_dry_run_that_is_none_is_counted_too(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_commands_per_minute=2)

    assert [client.post("/stop?dry_run=perhaps").status_code for _ in range(3)] == [422, 422, 429]


def test_too_many_requests_are_refused_but_for_the_sign_of_life(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_reads_per_minute=3)

    assert [client.get("/state").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.post("/checkpoint").status_code == 202
    assert {client.get("/livez").status_code for _ in range(10)} == {200}


def test_every_token_has_an_allowance_of_its_own(make_client: MakeClient, store: Store, tokens: Path) -> None:
    anna, bert = (bearer(create_token(tokens, name, TokenScope.CONTROL)) for name in ("anna", "bert"))
    client = make_client(api_tokens=str(tokens), api_commands_per_minute=1)

    assert [client.post("/validate", headers=given).status_code for given in (anna, anna, bert)] == [202, 429, 202]


def test_a_command_is_counted_for_who_may_not_give_it_too(make_client: MakeClient, store: Store, tokens: Path) -> None:
    reading = bearer(create_token(tokens, "grafana", TokenScope.READ))
    client = make_client(api_tokens=str(tokens), api_commands_per_minute=1)

    assert [client.post("/stop", headers=reading).status_code for _ in range(2)] == [403, 429]


def test_who_asks_is_known_by_the_name_of_the_token(tokens: Path) -> None:
    given = create_token(tokens, "anna", TokenScope.CONTROL)
    names = []
    for config in (RunConfig(api_tokens=str(tokens)), RunConfig()):
        app = Flask(__name__)
        register(app, config)
        app.add_url_rule("/who", view_func=client_name, endpoint="who")
        names.append(app.test_client().get("/who", headers=bearer(given)).text)

    assert names == ["anna", "anonymous"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5050", "127.0.0.1.evil.example", "10.0.0.5", "[::2]", ""]
)
def test_without_a_token_a_foreign_host_name_is_refused(client: FlaskClient, store: Store, host: str) -> None:
    answer = client.get("/state", headers={"Host": host})

    assert (answer.status_code, answer.get_json()["type"]) == (421, "/problems/wrong-host")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:5050", "localhost:8080", "LOCALHOST", "[::1]:5050", "[::1]"])
def test_the_loopback_names_are_served(client: FlaskClient, store: Store, host: str) -> None:
    assert client.get("/state", headers={"Host": host}).status_code == 200


def test_with_a_token_any_host_name_is_served(make_client: MakeClient, store: Store) -> None:
    headers = {**BEARER, "Host": "trainer.lan:5050"}

    assert make_client(api_token=TOKEN).get("/state", headers=headers).status_code == 200


def test_with_names_given_only_those_are_served(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN, api_hosts="Trainer.lan, 10.0.0.5,[fd00::5]")
    asked = ["trainer.lan:5050", "TRAINER.LAN.", "10.0.0.5", "[fd00::5]:5050", "127.0.0.1", "evil.example", ""]

    statuses = [client.get("/state", headers={**BEARER, "Host": host}).status_code for host in asked]

    assert statuses == [200, 200, 200, 200, 421, 421, 421]
    assert client.get("/livez", headers={"Host": "10.1.2.3"}).status_code == 200


def actor_of(store: Store) -> str:
    return store.commands.find(RUN_ID)[-1].actor


def test_a_forwarded_address_is_not_believed_without_a_proxy(client: FlaskClient, store: Store) -> None:
    client.post("/validate", headers={"X-Forwarded-For": "10.9.9.9", "X-Real-IP": "10.9.9.9"})

    assert actor_of(store) == "anonymous@127.0.0.1"


def test_behind_a_proxy_the_address_it_saw_is_the_asker(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN, api_proxies=1)

    client.post("/validate", headers={**BEARER, "X-Forwarded-For": "6.6.6.6, 10.9.9.9"})

    assert actor_of(store).endswith("@10.9.9.9")


def test_a_forwarded_host_is_never_believed(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN, api_proxies=1, api_hosts="trainer.lan")

    answer = client.get("/state", headers={**BEARER, "Host": "evil.example", "X-Forwarded-Host": "trainer.lan"})

    assert kind_of(answer) == (421, "wrong-host")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:6060", "file://", "http://127.0.0.1"]
)
def test_another_web_page_cannot_steer(client: FlaskClient, store: Store, origin: str) -> None:
    answer = client.post("/stop", headers={"Host": "127.0.0.1:5050", "Origin": origin})

    assert (answer.status_code, answer.get_json()["type"]) == (403, "/problems/foreign-origin")
    assert store.commands.find(RUN_ID) == []


def test_another_web_page_cannot_steer_with_a_token_either(make_client: MakeClient, store: Store) -> None:
    headers = {**BEARER, "Origin": "http://evil.example"}

    assert make_client(api_token=TOKEN).post("/stop", headers=headers).status_code == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:5050", "HTTP://127.0.0.1:5050"])
def test_the_own_page_can_steer(client: FlaskClient, store: Store, origin: str) -> None:
    headers = {"Host": "127.0.0.1:5050", "Origin": origin}

    assert client.post("/validate", headers=headers).status_code == 202


def test_without_tls_a_page_with_it_cannot_steer(make_client: MakeClient, store: Store) -> None:
    """Whoever answers at the name's other port is another page; only a trusted proxy's word changes the scheme."""
    headers = {**BEARER, "Host": "trainer.lan", "Origin": "https://trainer.lan"}

    answer = make_client(api_token=TOKEN).post("/validate", headers={**headers, "X-Forwarded-Proto": "https"})

    assert kind_of(answer) == (403, "foreign-origin")
    assert "API_PROXIES must count it" in answer.get_json()["detail"]
    assert make_client(api_token=TOKEN, api_proxies=1).post("/validate", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("proto", "host", "origin", "status"),
    [
        ("https", "trainer.lan", "https://trainer.lan", 202),
        ("HTTPS", "Trainer.lan", "https://trainer.LAN", 202),
        ("https", "trainer.lan:443", "https://trainer.lan", 202),
        ("http", "trainer.lan:80", "http://trainer.lan", 202),
        ("https", "trainer.lan:8443", "https://trainer.lan:8443", 202),
        ("https", "trainer.lan:80", "https://trainer.lan", 403),
        ("http", "trainer.lan:443", "http://trainer.lan", 403),
        ("https", "trainer.lan:8443", "https://trainer.lan", 403),
        ("https", "trainer.lan", "https://trainer.lan:8443", 403),
        ("https", "trainer.lan", "null", 403),
        ("https", "trainer.lan", "https://trainer.lan.evil.example", 403),
    ],
)
def test_behind_a_trusted_proxy_scheme_host_and_port_must_be_the_pages(
    make_client: MakeClient, store: Store, proto: str, host: str, origin: str, status: int
) -> None:
    headers = {**BEARER, "Host": host, "X-Forwarded-Proto": proto, "Origin": origin}

    assert make_client(api_token=TOKEN, api_proxies=1).post("/validate", headers=headers).status_code == status


def test_over_tls_a_page_without_it_cannot_steer(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token=TOKEN, api_proxies=1)
    headers = {**BEARER, "Host": "trainer.lan", "X-Forwarded-Proto": "https"}

    assert client.post("/validate", headers={**headers, "Origin": "https://trainer.lan"}).status_code == 202
    assert client.post("/validate", headers={**headers, "Origin": "http://trainer.lan"}).status_code == 403


@pytest.mark.parametrize(
    ("method", "site", "mode", "destination", "status"),
    [
        ("GET", "same-origin", "cors", "empty", 200),
        ("GET", "none", "navigate", "document", 200),
        ("GET", "cross-site", "navigate", "document", 200),
        ("GET", "cross-site", "navigate", "iframe", 403),
        ("GET", "cross-site", "no-cors", "image", 403),
        ("GET", "same-site", "cors", "empty", 403),
        ("POST", "same-origin", "cors", "empty", 202),
        ("POST", "cross-site", "navigate", "document", 403),
        ("POST", "same-site", "no-cors", "empty", 403),
    ],
)
def test_what_a_browser_says_of_the_asking_page_is_heeded(
    client: FlaskClient, store: Store, method: str, site: str, mode: str, destination: str, status: int
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    path = {"GET": "/state", "POST": "/validate"}[method]

    assert client.open(path, method=method, headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/", "/state", "/no-such", "/static/styles/dashboard.css"])
def test_every_answer_forbids_foreign_scripts_and_frames(client: FlaskClient, store: Store, path: str) -> None:
    with client.get(path) as answer:
        headers = answer.headers

    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not [name for name, _ in headers if name.startswith("Access-Control-")]
    assert "Strict-Transport-Security" not in headers


def test_over_tls_the_browser_is_told_to_stay_there(make_client: MakeClient) -> None:
    client = make_client(api_token=TOKEN, api_proxies=1)

    assert client.get("/livez", headers={"X-Forwarded-Proto": "https"}).headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" not in client.get("/livez", headers={"X-Forwarded-Proto": "http"}).headers


def test_the_page_needs_no_inline_script_or_style(client: FlaskClient) -> None:
    page = client.get("/").text

    assert " style=" not in page
    assert "<style" not in page
    assert "onclick" not in page
    assert page.count("<script") == page.count(' src="./static/') - page.count("<img")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "trainer.lan", "127.0.0.1.evil.example"])
def test_an_address_that_others_reach_is_refused_without_a_token(host: str) -> None:
    with pytest.raises(SettingError, match="set API_TOKEN"):
        require_safe_address(RunConfig(api_host=host))
    with pytest.raises(SettingError, match="set API_TOKEN"):
        create_app(RunConfig(api_host=host))
    require_safe_address(RunConfig(api_host=host, api_token=TOKEN))


def test_a_file_of_tokens_is_as_good_as_a_token_when_it_holds_one(tokens: Path) -> None:
    outer = RunConfig(api_host="0.0.0.0", api_tokens=str(tokens))
    with pytest.raises(TokenFileError, match="There is no file"):
        require_safe_address(outer)
    create_token(tokens, "anna", TokenScope.READ)
    require_safe_address(outer)

    revoke_token(tokens, "anna")
    with pytest.raises(SettingError, match="leitstand token create"):
        require_safe_address(outer)
    require_safe_address(RunConfig(api_tokens=str(tokens)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    require_safe_address(RunConfig(api_host=host))

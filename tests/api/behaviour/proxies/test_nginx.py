"""deploy/nginx/leitstand.conf in a real nginx, in front of a real gunicorn, over TLS."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from api.http.problem_types import PROBLEMS
from api.server.request_buffer import MAX_BODY_BYTES
from service.auth.tokens import TokenScope, create_token
from service.store.store import Store
from tests.api.conftest import keep_alive
from tests.api.harness.example_run import RUN_ID, write_run
from tests.api.harness.nginx import NGINX, replaced, running_nginx
from tests.api.harness.serving import Serving, free_port

OPENSSL = shutil.which("openssl")

pytestmark = pytest.mark.skipif(not (NGINX and OPENSSL), reason="nginx or openssl is not installed")

Eventually = Callable[..., None]

NAME = "localhost"
ELSEWHERE = "127.0.0.2"
"""Another address of this machine, from which a client can come."""


@dataclass(frozen=True)
class Proxy:
    """A running nginx; `session` trusts its certificate."""

    url: str
    plain_url: str
    place: Path
    session: requests.Session


class ComingFrom(HTTPAdapter):
    """Connects from one address of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cert.pem` and `key.pem` for `localhost`."""
    place = tmp_path_factory.mktemp("tls")
    command = [str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    command += ["-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return place


@contextmanager
def proxying(repository: Path, certificate: Path, place: Path, upstream_port: int) -> Iterator[Proxy]:
    """nginx with our file, changed only in its ports, name and places."""
    port, plain_port = free_port(), free_port()
    changes = {
        "127.0.0.1:5050": f"127.0.0.1:{upstream_port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{plain_port}",
        "server_name trainer.example": f"server_name {NAME}",
        "/etc/ssl/certs/trainer.example.pem": str(certificate / "cert.pem"),
        "/etc/ssl/private/trainer.example.key": str(certificate / "key.pem"),
        "/var/log/nginx/": f"{place}/",
    }
    text = (repository / "deploy" / "nginx" / "leitstand.conf").read_text()
    with running_nginx(replaced(text, changes), place, port), requests.Session() as session:
        session.verify = str(certificate / "cert.pem")
        session.trust_env = False
        yield Proxy(f"https://{NAME}:{port}", f"http://{NAME}:{plain_port}", place, session)


@dataclass(frozen=True)
class Deployment:
    """A served run behind a proxy, and a token for it."""

    store: Store
    proxy: Proxy
    bearer: dict[str, str]
    port: int

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {**self.bearer, **options.pop("headers", {})}
        return self.proxy.session.request(method, self.proxy.url + path, headers=headers, timeout=20, **options)

    def newest_actor(self) -> str:
        return self.store.commands.find(RUN_ID)[-1].actor


@pytest.fixture(scope="module")
def deployment(
    serving: Serving, tmp_path_factory: pytest.TempPathFactory, certificate: Path, repository: Path
) -> Iterator[Deployment]:
    place = tmp_path_factory.mktemp("room")
    store = write_run(place / "run")
    keep_alive(store)
    tokens = place / "tokens.json"
    bearer = {"Authorization": f"Bearer {create_token(tokens, 'anna', TokenScope.CONTROL)}"}
    settings = {"API_TOKENS": str(tokens), "API_PROXIES": "1", "API_HOSTS": NAME}
    with (
        serving(place / "run", **settings) as server,
        proxying(repository, certificate, place, server.port) as proxy,
    ):
        yield Deployment(store, proxy, bearer, server.port)
    store.close()


def test_page_and_api_answer_over_tls(deployment: Deployment) -> None:
    page, state = deployment.get("/"), deployment.get("/state")

    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert state.json()["run_id"] == RUN_ID
    assert state.headers["Strict-Transport-Security"].startswith("max-age=")
    script = deployment.get("/static/dashboard/main.js")
    assert (script.status_code, script.headers["Content-Encoding"]) == (200, "gzip")
    assert deployment.get("/settings").headers["ETag"].endswith('-gzip"')
    assert deployment.get(f"/runs/{RUN_ID}/state").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/state?a=b"), ("POST", "/validate")])
def test_without_tls_all_are_refused_alike_and_sent_nowhere(deployment: Deployment, method: str, path: str) -> None:
    for headers in ({}, deployment.bearer, {"Authorization": "Bearer wrong"}):
        answer = requests.request(
            method, deployment.proxy.plain_url + path, headers=headers, allow_redirects=False, timeout=20
        )

        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "text/plain")
        assert answer.text.startswith("Leitstand is served with TLS only")
        assert (answer.headers["Connection"], "Location" in answer.headers) == ("close", False)


def test_without_a_token_nothing_is_told(deployment: Deployment) -> None:
    answer = requests.get(f"{deployment.proxy.url}/state", verify=deployment.proxy.session.verify, timeout=20)

    assert answer.status_code == 401


def test_the_own_page_steers_and_others_do_not(deployment: Deployment) -> None:
    own = deployment.ask("POST", "/validate", headers={"Origin": deployment.proxy.url})
    others = [
        deployment.ask("POST", "/validate", headers={"Origin": origin})
        for origin in ("https://evil.example", deployment.proxy.url.replace("https", "http"), f"https://{NAME}", "null")
    ]

    assert own.status_code == 202
    assert {answer.status_code for answer in others} == {403}
    assert {answer.json()["type"] for answer in others} == {"/problems/foreign-origin"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", ""])
def test_under_another_name_the_room_is_not_to_be_had(deployment: Deployment, host: str) -> None:
    assert deployment.get("/state", headers={"Host": host}).status_code in {400, 421}


def test_the_audit_has_the_address_that_the_proxy_saw(deployment: Deployment) -> None:
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
    deployment.ask("POST", "/checkpoint", headers=claims)
    assert deployment.newest_actor().endswith("@127.0.0.1")

    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", ComingFrom(ELSEWHERE))
        answer = session.post(
            f"{deployment.proxy.url}/checkpoint",
            headers=deployment.bearer,
            verify=deployment.proxy.session.verify,
            timeout=20,
        )

    assert answer.status_code == 202
    assert deployment.newest_actor() == f"anna@{ELSEWHERE}"


def test_without_proxies_named_their_headers_are_ignored(serving: Serving, tmp_path: Path) -> None:
    store = write_run(tmp_path / "run")
    keep_alive(store)
    with serving(tmp_path / "run") as server:
        headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
        answer = requests.post(f"{server.url}/checkpoint", headers=headers, timeout=20)

    assert answer.status_code == 202
    assert "Strict-Transport-Security" not in answer.headers
    assert store.commands.find(RUN_ID)[-1].actor == "anonymous@127.0.0.1"
    store.close()


def test_commands_and_records_come_through_whole(deployment: Deployment) -> None:
    accepted = deployment.ask("POST", "/validate", json={})
    command = deployment.get(accepted.headers["Location"])
    listed = deployment.get("/statistics").json()["records"]
    record = deployment.get(f"/statistics/{listed[0]['name']}", headers={"Range": "bytes=0-9"})

    assert (accepted.status_code, command.json()["state"]) == (202, "queued")
    assert (record.status_code, len(record.content)) == (206, 10)
    assert deployment.ask("DELETE", accepted.headers["Location"]).status_code in {200, 204}


@pytest.mark.parametrize(
    ("slug", "options"),
    [
        ("body-too-large", {"data": b"x" * (MAX_BODY_BYTES + 1)}),
        ("uri-too-long", {"params": {"actor": "a" * 5_000}}),
        ("uri-too-long", {"params": {"actor": "a" * 10_000}}),
        ("head-too-large", {"headers": {"X": "a" * 10_000}}),
        ("bad-request", {"headers": {"Host": ""}}),
        ("bad-request", {"headers": {"Transfer-Encoding": "wonders"}}),
    ],
)
def test_whether_proxy_or_server_refuses_the_shape_is_ours(
    deployment: Deployment, slug: str, options: dict[str, Any]
) -> None:
    answer = deployment.ask("POST", "/validate", **options)

    assert (answer.status_code, answer.json()["type"]) == (PROBLEMS[slug].status, f"/problems/{slug}")
    assert answer.json()["title"] == PROBLEMS[slug].title
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_what_nginx_refuses_with_is_explained_behind_it_too(deployment: Deployment) -> None:
    for slug in ("bad-request", "uri-too-long", "head-too-large", "no-server"):
        assert deployment.get(f"/problems/{slug}").json()["title"] == PROBLEMS[slug].title
    assert deployment.get("/refused/bad-request").status_code == 404


def test_events_come_through_at_once(deployment: Deployment) -> None:
    with deployment.get("/events", stream=True) as answer:
        lines = answer.iter_lines()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        deployment.ask("POST", "/checkpoint")

        assert any(line == b"event: command" for line in lines), "one that is held back would time out"


def test_the_logs_hold_neither_tokens_nor_queries(deployment: Deployment, eventually: Eventually) -> None:
    path = deployment.proxy.place / "leitstand.log"
    deployment.get("/series?names=total_loss_value")

    eventually(lambda: '"path":"/series"' in path.read_text(), what="the line in the log")  # it follows the answer
    log = path.read_text()
    assert "total_loss_value" not in log
    assert "lst_" not in log


def test_a_server_that_is_away_is_said_and_found_again(
    serving: Serving, tmp_path: Path, certificate: Path, repository: Path, eventually: Eventually
) -> None:
    write_run(tmp_path / "run").close()
    port, settings = free_port(), {"API_TOKEN": "chosen", "API_PROXIES": "1"}
    with proxying(repository, certificate, tmp_path, port) as proxy:

        def status() -> int:
            return proxy.session.get(
                f"{proxy.url}/state", headers={"Authorization": "Bearer chosen"}, timeout=20
            ).status_code

        for _ in range(2):
            away = proxy.session.post(f"{proxy.url}/stop", timeout=20)
            assert (away.status_code, away.json()["type"]) == (502, "/problems/no-server")
            assert away.headers["Retry-After"] == "2"
            with serving(tmp_path / "run", at_port=port, **settings):
                eventually(lambda: status() == 200, what="an answer of the server")

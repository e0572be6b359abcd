"""TLS, proxies and the environment: whom the client trusts, and by which way it asks."""

import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.cli import exit_code
from service.client.client import Client, ServerUnreachableError, UntrustedServerError
from service.errors import UserError
from tests.service.harness.certificate import make_certificate, needs_openssl
from tests.service.harness.stand_in import Answer, StandIn, free_port, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of this machine, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[StandIn]:
    """A server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    stand_in = StandIn()
    stand_in.on("GET", "/state", Answer({"run_id": "run-1"}))
    with serving(stand_in, tls=context):
        yield stand_in


@needs_openssl
def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(secure: StandIn) -> None:
    with Client(secure.url, "secret") as client, pytest.raises(UntrustedServerError) as refused:
        client.state()

    assert "certificate verify failed: self-signed certificate" in str(refused.value)
    assert "LEITSTAND_CA" in str(refused.value)
    assert refused.value.exit_code == 2
    assert secure.requests == [], "the token has not left"


@needs_openssl
def test_a_named_certificate_is_trusted_whatever_the_environment_says(
    secure: StandIn, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))

    with Client(secure.url, ca_file=certificate[0]) as client:
        assert client.state()["run_id"] == "run-1"


@needs_openssl
def test_the_command_line_takes_the_certificate_from_option_or_environment(
    secure: StandIn, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code(["state", "--url", secure.url]) == 2
    assert exit_code(["state", "--url", secure.url, "--ca", str(certificate[0])]) == 0
    monkeypatch.setenv("LEITSTAND_CA", str(certificate[0]))
    assert exit_code(["state", "--url", secure.url]) == 0


def test_tls_asked_of_a_server_without_it_is_one_sentence(server: StandIn) -> None:
    with (
        Client(server.url.replace("http:", "https:")) as client,
        pytest.raises(UntrustedServerError, match="does not speak TLS: give the address with http://"),
    ):
        client.state()


def test_a_file_of_certificates_that_is_missing_is_said_before_asking(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*none\.pem of certificates"):
        Client("https://127.0.0.1:1", ca_file=tmp_path / "none.pem")


def test_a_proxy_is_not_asked_for_this_machine(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on("GET", "/state", Answer({"run_id": "run-1"}))

    with Client(server.url) as client:
        assert client.state()["run_id"] == "run-1"


def test_a_proxy_is_asked_for_another_machine(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on("GET", "http://box.example:5050/state", Answer({"run_id": "run-1"}))

    with Client("http://box.example:5050") as client:
        assert client.state()["run_id"] == "run-1"


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    with Client("http://box.example:5050") as client, pytest.raises(ServerUnreachableError, match="NO_PROXY"):
        client.state()


@pytest.mark.parametrize("url", ["http://box.example:5050", "http://192.168.1.5:5050", "http://127.0.0.1.example"])
def test_a_token_is_not_sent_in_clear_text_to_another_machine(url: str) -> None:
    with pytest.raises(UserError, match=r"https://.*--insecure-http") as refused:
        Client(url, "secret")

    assert f"sent to {url} could be read" in str(refused.value)
    assert "secret" not in str(refused.value)
    Client(url).close()
    Client(url.replace("http://", "https://"), "secret").close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5050", "http://localhost:5050", "http://[::1]:5050", "http://127.9.9.9"]
)
def test_a_token_may_be_sent_to_this_machine_and_by_no_proxy(
    url: str, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    server.on("GET", f"{url}/state", Answer({"run_id": "run-1"}))

    with Client(url, "secret", timeout_seconds=0.5) as client, suppress(UserError):
        client.state()

    assert server.requests == []


def test_plain_http_to_another_machine_can_be_allowed(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on("GET", "http://box.example:5050/state", Answer({"run_id": "run-1"}))
    asked = ["state", "--json", "--url", "http://box.example:5050", "--token", "secret"]

    assert exit_code(asked) == 2
    assert json.loads(capsys.readouterr().err)["detail"].startswith("A token sent to http://box.example:5050 could be")
    assert server.requests == []
    assert exit_code([*asked, "--insecure-http"]) == 0
    monkeypatch.setenv("LEITSTAND_INSECURE_HTTP", "1")
    assert exit_code(asked) == 0
    with Client("http://box.example:5050", "secret", insecure_http=True) as client:
        assert client.state()["run_id"] == "run-1"
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer secret"] * 3

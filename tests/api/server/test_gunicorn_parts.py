"""A gunicorn in which a part that the worker builds on is gone or another: the start says so, and serves nobody."""

from typing import Any

import pytest
from gunicorn.workers.gthread import TConn, ThreadWorker

from api.server import gunicorn_parts
from api.server.gunicorn_config import safe_settings
from api.server.gunicorn_parts import METHODS, Method, require_private_parts
from api.server.worker import BufferedRequestWorker, ClientConnection
from service.errors import UserError


def test_the_gunicorn_that_is_installed_has_all_of_them() -> None:
    require_private_parts()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.owner.__name__}.{method.name}")
def test_a_method_that_takes_something_else_is_named(monkeypatch: pytest.MonkeyPatch, method: Method) -> None:
    def other(_self: object, _something: object, _else: object) -> None:
        pass

    monkeypatch.setattr(method.owner, method.name, other)

    with pytest.raises(UserError, match=rf"{method.owner.__name__}\.{method.name}\(.*is missing or another"):
        require_private_parts()


def test_a_method_that_gunicorn_no_longer_calls_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadWorker, "run", lambda _self: None)

    with pytest.raises(UserError, match=r"ThreadWorker\.murder_pending is not called by run"):
        require_private_parts()


def test_an_attribute_that_is_no_longer_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(self: Any, cfg: object, sock: object, client: object, server: object) -> None:
        self.socket = (cfg, sock, client, server)

    monkeypatch.setattr(TConn, "__init__", init)

    with pytest.raises(UserError, match=r"TConn sets no sock, TConn sets no parser"):
        require_private_parts()


def test_the_start_of_the_server_ends_with_that_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gunicorn_parts.gunicorn, "__version__", "99.0")
    monkeypatch.delattr(ThreadWorker, "murder_pending")

    with pytest.raises(SystemExit) as ended:
        safe_settings()

    assert ended.value.code == 2
    assert "gunicorn 99.0 is another than Leitstand's server is built on" in capsys.readouterr().err


def test_everything_that_the_worker_overrides_is_checked() -> None:
    checked = {method.name for method in METHODS}
    for ours, theirs in ((BufferedRequestWorker, ThreadWorker), (ClientConnection, TConn)):
        overridden = {name for name in vars(ours) if hasattr(theirs, name) and callable(getattr(theirs, name))}
        assert {name for name in overridden if not name.startswith("__")} <= checked

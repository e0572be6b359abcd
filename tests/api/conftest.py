"""What tests of the API share: run directories with a run in them, a test client, and a real server."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from service.config.loader import NAMES
from service.config.settings import RENAMED, RunConfig
from service.store.store import Store
from tests.api.harness.compiled_rules import rule_class
from tests.api.harness.conforming import Contract
from tests.api.harness.example_run import RUN_ID, write_run
from tests.api.harness.serving import Server, serving

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in (*NAMES, *RENAMED, "URL", "TOKEN", "CONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"LEITSTAND_{name}", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _rules_are_compiled_once() -> Iterator[None]:
    """Nearly every test makes an application, and all of them have the same routes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "url_rule_class", rule_class())
        yield


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The published contract."""
    return Contract()


@pytest.fixture(autouse=True)
def _held_to_the_contract(contract: Contract) -> Iterator[None]:
    """No answer that a test of this folder gets from an application in its process may break the contract."""
    with contract.watching() as complaints:
        yield
    assert complaints == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run directory in which nothing was started yet."""
    return tmp_path / "run"


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    """The store of a run that is alive in `root`."""
    store = write_run(root)
    yield store
    store.close()


@pytest.fixture
def client(root: Path) -> FlaskClient:
    """Asks the API of `root`, which holds a run only if the test also uses `store`."""
    return create_app(RunConfig(data_root=root)).test_client()


@pytest.fixture
def make_client(root: Path) -> Callable[..., FlaskClient]:
    """Asks the API of `root` with other settings."""
    return lambda **settings: create_app(RunConfig(data_root=root, **settings)).test_client()


def keep_alive(store: Store) -> None:
    """Date the heartbeat ahead: it counts as fresh for as long as the tests run."""
    ahead = time.time() + HOUR
    store.runs.update(RUN_ID, heartbeat_at=ahead, progress_at=ahead)


@pytest.fixture(scope="session")
def served_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    store = write_run(root)
    keep_alive(store)
    store.close()
    return root


@pytest.fixture(scope="session")
def server(served_root: Path) -> Iterator[Server]:
    """A real gunicorn that serves a living run."""
    with serving(served_root) as server:
        yield server

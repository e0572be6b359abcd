"""What tests of the API share: run directories with a run in them, a test client, and a real server."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from selenium.webdriver import Chrome

from api.app import create_app
from api.events.broadcaster import broadcasters_of
from service.config.loader import NAMES
from service.config.settings import RENAMED, RunConfig
from service.store.store import Store
from tests.api.harness.browsing import WINDOW, browsing, complaints
from tests.api.harness.compiled_rules import rule_class
from tests.api.harness.conforming import Contract
from tests.api.harness.example_database import ExampleDatabase
from tests.api.harness.example_run import RUN_ID, write_files_of, write_run
from tests.api.harness.serving import IMPORTED_BY_SERVERS, Server, Serving
from tests.api.harness.serving import serving as serving_with
from tests.harness.forked import StartPython, starting_python
from tests.postgres import PostgresService

HOUR = 3600.0

on_both_databases = pytest.mark.parametrize("store_address", ["sqlite", "postgresql"], indirect=True)
"""Runs a test with the run in an SQLite file, and again with it in PostgreSQL.

For what the two could answer differently: texts, numbers and orders from queries, locks, news of a change.
"""


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


@pytest.fixture(scope="session")
def example_database(postgres: PostgresService) -> Iterator[ExampleDatabase]:
    """A database on the server that holds the example run, for the tests one after another."""
    postgres.start()
    database = ExampleDatabase(postgres.new_database())
    yield database
    postgres.start()
    postgres.drop_database(database.url)


@pytest.fixture
def store_address(request: pytest.FixtureRequest) -> str:
    """STORE_URL of the API: empty, so that the store is a file in `root`, but for tests `on_both_databases`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    request.getfixturevalue("postgres").start()
    database: ExampleDatabase = request.getfixturevalue("example_database")
    return database.url


@pytest.fixture
def config(root: Path, store_address: str) -> RunConfig:
    """Settings of an API of `root`."""
    return RunConfig(data_root=root, store_url=store_address)


@pytest.fixture
def store(root: Path, store_address: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """The store of a run that is alive in `root`."""
    if store_address:
        store = request.getfixturevalue("example_database").restored()
        write_files_of(store, root)
    else:
        store = write_run(root)
    yield store
    store.close()


@pytest.fixture
def make_app(config: RunConfig) -> Iterator[Callable[..., Flask]]:
    """Makes APIs of `root` with other settings, whose connections are closed in the end."""
    apps = []

    def make(**settings: Any) -> Flask:
        apps.append(app := create_app(replace(config, **settings)))
        return app

    yield make
    for app in apps:
        broadcasters_of(app).end_when(lambda: True)
    for thread in threading.enumerate():
        if thread.name == "broadcaster":
            thread.join(20)  # or it would open a connection that nobody closes
    for app in apps:
        app.extensions["leitstand"].close()


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    """Asks the API of `root`, which holds a run only if the test also uses `store`."""
    return make_app().test_client()


@pytest.fixture
def make_client(make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    """Asks the API of `root` with other settings."""
    return lambda **settings: make_app(**settings).test_client()


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
def start_server(is_forking: bool) -> Iterator[StartPython]:
    """Start a program of this interpreter as the fork of a process that has imported what servers import."""
    with starting_python(*IMPORTED_BY_SERVERS, is_forking=is_forking) as start:
        yield start


@pytest.fixture(scope="session")
def serving(start_server: StartPython) -> Serving:
    """A real gunicorn on a run directory, for the time of a `with`."""
    return partial(serving_with, start_python=start_server)


@pytest.fixture(scope="session")
def server(served_root: Path) -> Iterator[Server]:
    """A real gunicorn that serves a living run, started as a person does: with an interpreter of its own."""
    with serving_with(served_root) as server:
        yield server


@pytest.fixture
def served(request: pytest.FixtureRequest, root: Path, store_address: str) -> Iterator[Server]:
    """A real server of a run that is alive: the one of all tests, or with the run in PostgreSQL one of its own."""
    if not store_address:
        yield request.getfixturevalue("server")
        return
    keep_alive(request.getfixturevalue("store"))
    with request.getfixturevalue("serving")(root, STORE_URL=store_address) as server:
        yield server


@pytest.fixture
def served_store(request: pytest.FixtureRequest, served_root: Path, store_address: str) -> Iterator[Store]:
    """The store behind `served`, without commands that wait."""
    if store_address:
        yield request.getfixturevalue("store")
        return
    store = Store(served_root / "leitstand.db")
    store.commands.reject_queued(RUN_ID, "another test left it")
    yield store
    store.commands.reject_queued(RUN_ID, "the test is over")


@pytest.fixture(scope="session")
def running_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One headless browser for all tests: its start takes longer than most of them."""
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(running_browser: Chrome) -> Iterator[Chrome]:
    """A browser that shows nothing yet, and whose complaints are those of this test."""
    complaints(running_browser)
    yield running_browser
    running_browser.get("about:blank")
    running_browser.set_window_size(*WINDOW)

"""What tests of the page share: a living run, a server of it, and the page in a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from selenium.webdriver import Chrome

from service.store.store import Store
from tests.api.conftest import keep_alive
from tests.api.harness.browsing import browser_is_installed, complaints, count_pixels, text_of
from tests.api.harness.dashboard import showing
from tests.api.harness.example_run import write_run
from tests.api.harness.serving import Server, Serving, lead_to

Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def _calm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test that uses the browser ends without a complaint of it."""
    if "browser" not in request.fixturenames:
        yield
        return
    if not browser_is_installed():
        pytest.skip("Chromium or its driver is not installed")
    browser = request.getfixturevalue("browser")
    yield
    assert [entry for entry in complaints(browser) if not is_of_a_lost_connection(entry["message"])] == []


def is_of_a_lost_connection(message: str) -> bool:
    return any(word in message for word in ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"))


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server of this module looks for its run; each test's own is put there."""
    return tmp_path_factory.mktemp("served") / "run"


@pytest.fixture(scope="module")
def running_server(serving: Serving, link: Path) -> Iterator[Server]:
    with serving(link, API_COMMANDS_PER_MINUTE="1000000") as server:
        yield server


@pytest.fixture
def server(running_server: Server, link: Path, root: Path, eventually: Eventually) -> Server:
    """A server of this test's run. Streams of the run before, which has the same id, are over."""
    eventually(lambda: "leitstand_api_event_streams 0.0" in metrics(running_server), what="the end of earlier streams")
    lead_to(link, root)
    return running_server


def metrics(server: Server) -> str:
    return requests.get(f"{server.url}/metrics", timeout=20).text


@pytest.fixture
def living(root: Path) -> Iterator[Store]:
    """The store of a run that stays alive during the test."""
    store = write_run(root)
    keep_alive(store)
    yield store
    store.close()


@pytest.fixture
def page(server: Server, living: Store, browser: Chrome, eventually: Eventually) -> Iterator[Chrome]:
    """The dashboard of a living run, drawn, and following its stream."""
    with showing(browser, server):
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
        eventually(lambda: count_pixels(browser, "#quality-plot", "ki") > 0, what="the drawn curve")
        eventually(lambda: "polling" not in text_of(browser, "#link-text"), what="the stream")
        yield browser


@pytest.fixture
def own_page(serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually) -> Iterator[Chrome]:
    """The page of a server that has not seen another directory with a run of the same id."""
    with serving(root) as server, showing(browser, server):
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
        eventually(lambda: "polling" not in text_of(browser, "#link-text"), what="the stream")
        yield browser

"""Page and API below a path: deploy/nginx/leitstand-path.conf in a real nginx, the page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service.client import Client
from tests.api.conftest import keep_alive
from tests.api.harness.browsing import browser_is_installed, complaints, count_pixels, text_of
from tests.api.harness.example_run import RECORD_STEPS, RUN_ID, write_run
from tests.api.harness.nginx import NGINX, replaced, running_nginx
from tests.api.harness.serving import Serving, free_port

Eventually = Callable[..., None]

NEEDS_BROWSER = pytest.mark.skipif(not browser_is_installed(), reason="Chromium or its driver is not installed")
TOKEN = "long-and-random"
PREFIX_LINE = "    proxy_set_header X-Forwarded-Prefix /leitstand;\n"
LOADED = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)"

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")


@contextmanager
def below_path(serving: Serving, repository: Path, place: Path, *left_out: str, **settings: str) -> Iterator[str]:
    """A living run behind nginx, at the address that is yielded; `left_out` of its configuration."""
    store = write_run(place / "run")
    keep_alive(store)
    store.close()
    port = free_port()
    with serving(place / "run", **settings) as server:
        changes = {"127.0.0.1:5050": f"127.0.0.1:{server.port}", **dict.fromkeys(left_out, "")}
        location = replaced((repository / "deploy/nginx/leitstand-path.conf").read_text(), changes)
        with running_nginx(f"access_log off; server {{ listen 127.0.0.1:{port}; {location} }}", place, port):
            yield f"http://127.0.0.1:{port}/leitstand"


@pytest.fixture(scope="module")
def url(serving: Serving, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that believes its proxy."""
    place = tmp_path_factory.mktemp("below")
    with below_path(serving, repository, place, API_PROXIES="1", API_TOKEN=TOKEN) as url:
        yield url


@pytest.fixture(scope="module")
def unnamed_url(serving: Serving, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that knows of no proxy, and is told no prefix, as below code-server."""
    with below_path(serving, repository, tmp_path_factory.mktemp("unnamed"), PREFIX_LINE) as url:
        yield url


def get(url: str, path: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(
        method, url + path, headers={"Authorization": f"Bearer {TOKEN}", **headers}, allow_redirects=False, timeout=20
    )


@NEEDS_BROWSER
@pytest.mark.parametrize("page", ["/", f"/runs/{RUN_ID}/"])
def test_the_page_below_a_path_shows_the_run_and_steers_it(
    url: str, page: str, browser: Chrome, eventually: Eventually
) -> None:
    browser.get(url + page)
    eventually(lambda: browser.find_element(By.ID, "token").is_displayed(), what="the question for a token")
    browser.find_element(By.ID, "token").send_keys(TOKEN)
    browser.find_element(By.CSS_SELECTOR, "#token-form button").click()

    eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
    eventually(lambda: count_pixels(browser, "#quality-plot", "ki") > 0, what="the drawn curve")
    browser.find_element(By.ID, "checkpoint").click()
    eventually(lambda: text_of(browser, "#outcome-state") == "queued", what="a queued command")

    link = browser.find_element(By.CSS_SELECTOR, "#records a")
    assert link.get_attribute("href") == f"{url}{page}statistics/Statistik_{RECORD_STEPS[-1]}.json"
    assert [path for path in browser.execute_script(LOADED) if not path.startswith("/leitstand/")] == []
    stored = browser.execute_script("return Object.keys(sessionStorage)")
    assert stored == ["leitstand-token /leitstand/"], "another control room at this origin is not given this token"
    browser.execute_script("sessionStorage.clear()")
    assert complaints(browser) == []


@NEEDS_BROWSER
@pytest.mark.parametrize("page", ["/", f"/runs/{RUN_ID}/"])
def test_a_page_whose_server_is_told_no_prefix_loads_too(
    unnamed_url: str, page: str, browser: Chrome, eventually: Eventually
) -> None:
    browser.get(unnamed_url + page)

    eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
    eventually(lambda: count_pixels(browser, "#quality-plot", "ki") > 0, what="the drawn curve")
    href = browser.find_element(By.CSS_SELECTOR, "#records a").get_attribute("href")
    assert requests.get(str(href), timeout=20).status_code == 200
    assert complaints(browser) == []


@NEEDS_BROWSER
def test_the_page_of_the_contract_leads_to_its_neighbours(unnamed_url: str, browser: Chrome) -> None:
    browser.get(f"{unnamed_url}/docs")

    links = {str(link.get_attribute("href")) for link in browser.find_elements(By.CSS_SELECTOR, "header a")}
    assert links == {f"{unnamed_url}/", f"{unnamed_url}/openapi.json"}
    assert all(path.startswith("/leitstand/static/") for path in browser.execute_script(LOADED))
    assert complaints(browser) == []


@NEEDS_BROWSER
def test_the_page_of_runs_works_below_a_path_and_its_files_are_kept(
    unnamed_url: str, browser: Chrome, eventually: Eventually
) -> None:
    browser.get(f"{unnamed_url}/runs")

    eventually(lambda: RUN_ID in text_of(browser, "#rows"), what="the run")
    link = browser.execute_script("return document.querySelector('#rows a').href")
    assert link == f"{unnamed_url}/runs/{RUN_ID}/"
    files = [path for path in browser.execute_script(LOADED) if path.startswith("/leitstand/static/")]
    assert len(files) > 10
    for path in files:
        answer = requests.get(f"{unnamed_url.removesuffix('/leitstand')}{path}", timeout=20)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert complaints(browser) == []


def test_every_path_in_an_answer_begins_with_the_prefix(url: str) -> None:
    get(url, "/checkpoint", "POST")
    queued = get(url, "/validate", "POST")
    commands = get(url, "/commands?limit=1")
    records = get(url, f"/runs/{RUN_ID}/statistics?limit=1")
    runs = get(url, "/runs").json()["runs"]
    schema = get(url, "/schema/RunList.json").json()
    servers = [server["url"] for server in get(url, "/openapi.json").json()["servers"]]
    paths = [
        queued.headers["Location"], commands.links["next"]["url"], records.links["next"]["url"],
        records.json()["records"][0]["url"], runs[0]["url"], schema["$id"],
        get(url, "/statistics/latest").headers["Content-Location"], get(url, "/no/such").json()["instance"],
    ]  # fmt: skip

    assert [path for path in [*paths, *servers] if not path.startswith("/leitstand/")] == []
    origin = url.removesuffix("/leitstand")
    assert {get(origin, path).status_code for path in paths[:-1]} == {200}
    assert servers == ["/leitstand/", "/leitstand/runs/{run}"]


def test_a_forgotten_slash_is_added_below_the_prefix(url: str, unnamed_url: str) -> None:
    for address in (url, unnamed_url):
        answer = get(address, f"/runs/{RUN_ID}?a=b", Referer="")
        assert answer.status_code == 308
        redirected = requests.compat.urljoin(answer.url, answer.headers["Location"])  # type: ignore[attr-defined]
        assert urlsplit(redirected).path == f"/leitstand/runs/{RUN_ID}/"
        assert redirected.endswith("/?a=b")
        assert answer.content == b""


def test_events_come_at_once_and_the_client_takes_an_address_with_a_path(url: str) -> None:
    with Client(url, TOKEN) as client:
        events = client.events(["state", "command"])
        assert next(events).kind == "state"
        command = client.submit("checkpoint")
        assert next(event for event in events if event.data.get("id") == command["id"]).kind == "command"
        assert client.command(command["id"])["state"] == "queued"


def test_a_prefix_that_no_trusted_proxy_names_is_not_believed(unnamed_url: str) -> None:
    answer = get(unnamed_url, "/validate", "POST", **{"X-Forwarded-Prefix": "/elsewhere"})

    assert answer.headers["Location"].startswith("/commands/")

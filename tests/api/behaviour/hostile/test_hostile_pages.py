"""A hostile web page in a real browser, beside a real server: it neither steers a training nor reads anything of it."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from service.store.store import Store
from tests.api.conftest import keep_alive
from tests.api.harness.browsing import browser_is_installed, complaints, text_of
from tests.api.harness.example_run import RUN_ID, write_run
from tests.api.harness.serving import Server, Serving, free_port, lead_to, raw_answer

pytestmark = pytest.mark.skipif(not browser_is_installed(), reason="Chromium or its driver is not installed")

Eventually = Callable[..., None]

PAGE = b"""<!doctype html><title>hostile</title><iframe name="target"></iframe>
<form id="plain" method="post" target="target" enctype="text/plain"><input name='{"a":"' value='"}'></form>
<form id="usual" method="post" target="target"><input name="a" value="b"></form>"""

ATTACKS = """
const [room, done] = arguments;
const outcome = (promise) => promise.then((value) => `read ${value}`, () => "nothing");
const text = async (response) => {
  if (response.type === "opaque") throw new Error("not readable");
  return response.status + await response.text();
};
const json = {"Content-Type": "application/json"};
const loaded = (kind, path) => new Promise((resolve, reject) => {
  const element = document.createElement(kind);
  element.onload = () => resolve("it ran or was shown");
  element.onerror = reject;
  element.src = room + path;
  document.body.append(element);
});
const streamed = (path) => new Promise((resolve, reject) => {
  const source = new EventSource(room + path);
  source.onopen = () => { source.close(); resolve("a stream"); };
  source.onerror = () => { source.close(); reject(new Error("no stream")); };
});
const sent = (form, path) => new Promise((resolve, reject) => {
  document.querySelector("iframe").onload = (event) => {
    try {
      const shown = event.target.contentDocument;
      shown === null || shown.URL === "about:blank" ? reject(new Error("not readable")) : resolve(shown.body.innerText);
    } catch (error) { reject(error); }
  };
  document.getElementById(form).action = room + path;
  document.getElementById(form).submit();
});
(async () => {
  const results = {};
  const attack = async (name, promise) => { results[name] = await outcome(promise); };
  for (const kind of ["stop", "pause", "checkpoint", "validate", "rollback"]) {
    await attack(`simple POST ${kind}`, fetch(`${room}/${kind}`, {method: "POST", mode: "no-cors"}).then(text));
  }
  await attack("text POST", fetch(`${room}/stop`, {method: "POST", mode: "no-cors", body: "{}"}).then(text));
  const secretly = {method: "POST", mode: "no-cors", credentials: "include"};
  await attack("with cookies", fetch(`${room}/stop`, secretly).then(text));
  await attack("open POST", fetch(`${room}/stop`, {method: "POST"}).then(text));
  await attack("JSON POST", fetch(`${room}/stop`, {method: "POST", headers: json, body: "{}"}).then(text));
  const change = {method: "PATCH", headers: json, body: '{"LOG_EVERY": 1}'};
  await attack("PATCH", fetch(`${room}/settings`, change).then(text));
  results.beacon = navigator.sendBeacon(`${room}/stop`, "{}") ? "nothing" : "not sent";
  await attack("form as text", sent("plain", "/stop"));
  await attack("form", sent("usual", "/validate"));
  await attack("image of a command", loaded("img", "/stop"));
  await attack("image of a picture", loaded("img", "/static/icon.svg"));
  await attack("script of the state", loaded("script", "/state"));
  await attack("script of the page", loaded("script", "/static/shared/api.js"));
  await attack("reading the state", fetch(`${room}/state`).then(text));
  await attack("reading without asking", fetch(`${room}/state`, {mode: "no-cors"}).then(text));
  await attack("reading records", fetch(`${room}/statistics/latest`).then(text));
  await attack("events", streamed("/events"));
  done(results);
})();
"""

STEER_AS_ONE_OF_US = """
const done = arguments[0];
const ask = (path, options) => fetch(path, options).then((response) => response.status, String);
(async () => done([
  await ask("/state"), await ask("/stop", {method: "POST"}),
  await ask("/stop", {method: "POST", headers: {"Content-Type": "application/json", "X-Forwarded-Host": "localhost"}}),
]))();
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the access log of this module's server, and a link to the run that it serves."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def running_server(serving: Serving, place: Path) -> Iterator[Server]:
    log = place / "access.log"
    with serving(
        place / "run", GUNICORN_CMD_ARGS=f"--access-logfile {log}", API_COMMANDS_PER_MINUTE="1000000"
    ) as server:
        yield server


@pytest.fixture
def server(running_server: Server, place: Path, root: Path) -> Server:
    """A server of this test's run, with an empty access log."""
    lead_to(place / "run", root)
    os.truncate(place / "access.log", 0)  # it is written by appending
    return running_server


@pytest.fixture
def living(root: Path) -> Iterator[Store]:
    """The store of a run that would obey."""
    store = write_run(root)
    keep_alive(store)
    yield store
    store.close()


class HostilePage(BaseHTTPRequestHandler):
    """Answers every path with the page."""

    timeout = 0.5  # a connection that the browser opened in advance would outlive the site

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def hostile_site(port: int = 0) -> Iterator[int]:
    """Another web site on this machine; yields its port."""
    site = ThreadingHTTPServer(("127.0.0.1", port), HostilePage)
    site.daemon_threads = False  # so that they end with it
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site.server_port
    finally:
        site.shutdown()
        site.server_close()
        thread.join()


def asked(log: Path) -> list[tuple[str, str, int]]:
    """Method, path and status of what the server answered, as its access log has it."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(line["method"], line["path"], line["status"]) for line in lines]


@pytest.mark.parametrize("site", ["http://evil.example", "http://127.0.0.1"])
def test_another_sites_page_neither_steers_nor_reads(
    server: Server, living: Store, browser: Chrome, place: Path, site: str, eventually: Eventually
) -> None:
    log = place / "access.log"
    with hostile_site() as port:
        browser.get(f"{site}:{port}/")
        results = browser.execute_async_script(ATTACKS, server.url)
        eventually(lambda: [asking[:2] for asking in asked(log)].count(("POST", "/stop")) >= 5, what="all arrivals")

    assert len(results) == 21
    assert {name: result for name, result in results.items() if result != "nothing"} == {}
    assert living.commands.find(RUN_ID) == []
    answered = asked(log)
    assert {status for method, _, status in answered if method == "POST"} == {403}, "all arrived, none passed"
    assert {path for method, path, _ in answered if method == "POST"} == {
        "/stop", "/pause", "/checkpoint", "/validate", "/rollback"
    }  # fmt: skip
    assert {status for method, path, status in answered if (method, path) == ("GET", "/stop")} <= {403, 405}


def test_a_page_whose_name_is_rebound_to_this_machine_is_a_stranger(
    serving: Serving, root: Path, living: Store, browser: Chrome
) -> None:
    """The page's own name and port lead to the server now, so that browser and Origin take it for the same site."""
    port = free_port()
    with hostile_site(port):
        browser.get(f"http://evil.example:{port}/")
        assert browser.title == "hostile"
    with serving(root, at_port=port):
        statuses = browser.execute_async_script(STEER_AS_ONE_OF_US)

    assert statuses == [421, 421, 421]
    assert living.commands.find(RUN_ID) == []


def test_the_own_page_could_do_what_the_rebound_one_could_not(server: Server, living: Store, browser: Chrome) -> None:
    browser.get(f"{server.url}/livez")

    assert browser.execute_async_script(STEER_AS_ONE_OF_US) == [200, 202, 202]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil:80"])
def test_a_rebound_name_is_refused_whatever_sends_it(server: Server, living: Store, host: str) -> None:
    name = host.format(port=server.port)
    request = f"POST /stop HTTP/1.1\r\nHost: {name}\r\nOrigin: http://{name}\r\nConnection: close\r\n\r\n"
    answer = raw_answer(server.port, request.encode())

    assert answer.startswith(b"HTTP/1.1 421 ")
    assert living.commands.find(RUN_ID) == []


def test_what_would_be_smuggled_into_the_page_does_not_run(server: Server, living: Store, browser: Chrome) -> None:
    smuggle = """
      const [foreign, done] = arguments;
      const add = (kind, attributes) => document.body.append(Object.assign(document.createElement(kind), attributes));
      const tried = {};
      const attempt = (name, act) => { try { act(); tried[name] = "allowed"; } catch { tried[name] = "refused"; } };
      attempt("markup", () => { document.body.innerHTML = "<img src=x onerror='window.ran = 1'>"; });
      attempt("code in a script", () => add("script", {textContent: "window.ran = 1"}));
      attempt("a foreign script", () => add("script", {src: foreign + "/script.js"}));
      add("iframe", {src: foreign});
      add("img", {src: foreign + "/picture"});
      const button = document.createElement("button");
      button.setAttribute("style", "color: red");
      document.body.append(button);
      fetch(foreign).then(() => "sent", () => "refused").then((result) => {
        tried["news to a stranger"] = result;
        tried.style = button.style.color === "red" ? "allowed" : "refused";
        setTimeout(() => done([tried, window.ran === undefined]), 200);
      });
    """
    with hostile_site() as port:
        browser.get(server.url)
        tried, nothing_ran = browser.execute_async_script(smuggle, f"http://evil.example:{port}")

    assert set(tried.values()) == {"refused"}
    assert nothing_ran


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_own_pages_break_none_of_these_rules(
    server: Server, living: Store, browser: Chrome, path: str, eventually: Eventually
) -> None:
    browser.get(server.url + path)
    assert browser.execute_script("return document.contentType") == "text/html"
    eventually(lambda: text_of(browser, "h1") != "", what="the page's heading")
    if path == "/":
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")

    assert complaints(browser) == []

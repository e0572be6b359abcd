"""Files that pages load: addresses that browsers keep, compression, and pages that are asked for anew."""

import gzip
import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.http.static_files import FOREVER, page, register
from service.store.store import Store
from tests.api.harness.example_run import RUN_ID

PAGES = ["/", "/runs", "/docs", "/problems/no-run", f"/runs/{RUN_ID}/"]
AS_BROWSER = {"Accept": "text/html", "Accept-Encoding": "gzip, deflate, br"}
LINK = re.compile(r'(?:href|src)="([^"]*static/[^"]*)"')


@pytest.mark.parametrize("path", PAGES)
def test_every_file_of_a_page_has_an_address_that_is_kept_for_ever(
    client: FlaskClient, store: Store, path: str
) -> None:
    links = LINK.findall(client.get(path, headers={"Accept": "text/html"}).text)

    assert len(links) > 1
    for link in links:
        address = urljoin(path, link)
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, FOREVER)
        assert re.search(r"/static/v-[0-9a-f]{12}/", address)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_asked_for_anew_and_answered_with_304_while_it_is_the_same(
    client: FlaskClient, store: Store, path: str
) -> None:
    first = client.get(path, headers=AS_BROWSER)
    again = client.get(path, headers={**AS_BROWSER, "If-None-Match": first.headers["ETag"]})

    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert "Accept-Encoding" in first.headers["Vary"]


@pytest.mark.parametrize(("path", "script"), [("/", "dashboard/main.js"), ("/runs", "runs/main.js")])
def test_a_page_names_every_script_that_its_script_imports(client: FlaskClient, path: str, script: str) -> None:
    html = client.get(path, headers={"Accept": "text/html"}).text
    head, _, _ = html.partition("</head>")
    named = {urljoin(path, link) for link in re.findall(r'rel="modulepreload" href="([^"]+)"', head)}
    (entry,) = re.findall(rf'src="([^"]+/{script})"', head)
    waiting, imported = [urljoin(path, entry)], set()
    while waiting:
        address = waiting.pop()
        for name in re.findall(r'(?:from|^import) "(\.[^"]+)"', client.get(address).text, re.MULTILINE):
            if (found := urljoin(address, name)) not in imported:
                imported.add(found)
                waiting.append(found)

    assert imported <= named
    assert len(imported) > 5


def test_without_a_version_or_with_that_of_another_server_a_file_is_not_kept(client: FlaskClient) -> None:
    for path in ("/static/styles/base.css", "/static/v-000000000000/styles/base.css"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
        assert client.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    "path", ["nothing.js", "v-000000000000/nothing.js", "../app.py", "v-000000000000/../../app.py", "styles"]
)
def test_what_is_no_file_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_a_script_is_compressed_for_those_who_take_it(client: FlaskClient) -> None:
    plain = client.get("/static/styles/base.css")
    small = client.get("/static/styles/base.css", headers=AS_BROWSER)

    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data
    assert len(small.data) < len(plain.data) / 2
    assert small.headers["ETag"] != plain.headers["ETag"]
    assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
    assert small.mimetype == "text/css"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.js").write_text("export const one = 1;\n")
    return tmp_path


def test_another_content_has_another_address_without_a_restart(folder: Path) -> None:
    app = Flask(__name__, static_folder=None)
    register(app, folder)

    def address() -> str:
        with app.test_request_context():
            return page('<script src="./static/one.js"></script>').get_data(as_text=True).split('"')[1]

    before = address()
    assert app.test_client().get(before[1:]).headers["Cache-Control"] == FOREVER
    (folder / "one.js").write_text("export const one = 1.0;\n")

    assert address() != before
    assert app.test_client().get(address()[1:]).text == "export const one = 1.0;\n"
    assert app.test_client().get(before[1:]).headers["Cache-Control"] == "no-cache"

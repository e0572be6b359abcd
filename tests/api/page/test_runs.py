"""The page of all runs in a real browser, against a real server: the list, the comparison, who may edit."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from service.auth.tokens import TokenScope, create_token
from tests.api.harness.browsing import count_pixels, text_of
from tests.api.harness.serving import Server, Serving
from tests.api.page.axe import accessibility
from tests.api.page.room import RUNS, write_ended_runs, write_room
from tests.api.page.test_texts import texts

Eventually = Callable[..., None]
NAMES = ["deeper network", "baseline", "cccccccccccc", "night run"]
MANY = 1000
TITLES = "return [...document.querySelectorAll('.title')].map((link) => link.textContent)"
ASKED = """
const addresses = performance.getEntriesByType("resource").map(({name}) => new URL(name));
return addresses.map((address) => address.pathname + address.search);
"""
POINT_AT_THE_END = """
const {right, top} = arguments[0].getBoundingClientRect();
arguments[0].dispatchEvent(new MouseEvent("mousemove", {clientX: right - 1, clientY: top + 9, bubbles: true}));
"""


@pytest.fixture(scope="module")
def server(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of four runs."""
    room = tmp_path_factory.mktemp("room")
    write_room(room)
    with serving(room, API_COMMANDS_PER_MINUTE="1000000") as server:
        yield server


def show(browser: Chrome, server: Server, address: str = "") -> None:
    browser.get("about:blank")
    browser.get(f"{server.url}/runs{address}")


def titles(browser: Chrome) -> list[str]:
    return [str(title) for title in browser.execute_script(TITLES)]


@pytest.fixture
def page(browser: Chrome, server: Server, eventually: Eventually) -> Chrome:
    """The list, complete and with the buttons of somebody who may edit."""
    show(browser, server)
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#rows .edit button")) == len(RUNS), what="four runs")
    return browser


@pytest.fixture
def comparison(browser: Chrome, server: Server, eventually: Eventually) -> Chrome:
    """The comparison of the first two runs."""
    show(browser, server, "#runs=aaaaaaaaaaaa,bbbbbbbbbbbb&compare=1")
    eventually(lambda: count_pixels(browser, "#curve", "run-2") > 100, what="the second curve")
    return browser


def test_programs_get_json_and_browsers_the_page(server: Server) -> None:
    for accepted in ("application/json", "*/*", ""):
        answer = requests.get(f"{server.url}/runs", headers={"Accept": accepted}, timeout=10)
        assert answer.json()["runs"][0]["name"] == "deeper network"
        assert "Accept" in answer.headers["Vary"].split(", ")
    page = requests.get(f"{server.url}/runs", headers={"Accept": "text/html,*/*;q=0.8"}, timeout=10)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Accept" in page.headers["Vary"].split(", ")


def test_the_list_says_who_each_run_is_and_how_it_stands(page: Chrome, eventually: Eventually) -> None:
    assert titles(page) == NAMES
    first = page.find_element(By.CSS_SELECTOR, "#rows tr")
    assert [part in first.text for part in ("aaaaaaaaaaaa", "Running", "0.7370", "4,200", "now")] == [True] * 5
    assert text_of(page, "#count") == "4 runs, 1 not ended"
    drawn = ".spark polyline"
    eventually(lambda: len(page.find_elements(By.CSS_SELECTOR, drawn)) == len(RUNS), what="a small curve for each run")


def test_a_click_on_a_row_opens_the_run(page: Chrome, server: Server, eventually: Eventually) -> None:
    page.find_element(By.CSS_SELECTOR, "#rows tr:nth-child(2) .age").click()

    eventually(lambda: page.current_url == f"{server.url}/runs/bbbbbbbbbbbb/", what="the page of the run")
    eventually(lambda: "4,200" in text_of(page, "body"), what="its step")


def test_filter_and_order_are_part_of_the_address(page: Chrome, server: Server, eventually: Eventually) -> None:
    page.find_element(By.CSS_SELECTOR, "[data-sort=best]").click()
    assert titles(page) == ["deeper network", "night run", "baseline", "cccccccccccc"]
    page.find_element(By.CSS_SELECTOR, "[data-sort=best]").click()
    assert titles(page) == ["cccccccccccc", "baseline", "night run", "deeper network"]
    Select(page.find_element(By.ID, "state")).select_by_value("ended")
    page.find_element(By.ID, "find").send_keys("N")
    assert titles(page) == ["baseline", "night run"]

    address = page.current_url.partition("#")[2]
    assert address == "find=N&state=ended&sort=best"
    show(page, server, f"#{address}")
    eventually(lambda: titles(page) == ["baseline", "night run"], what="the same view")
    assert page.find_element(By.ID, "find").get_attribute("value") == "N"
    page.find_element(By.ID, "find").send_keys("othing")
    assert "No run is like that" in text_of(page, "#rows")


def test_a_thousand_runs_are_paged_and_only_those_shown_are_asked_for_their_curves(
    browser: Chrome, serving: Serving, tmp_path: Path, eventually: Eventually
) -> None:
    write_ended_runs(tmp_path / "room", MANY)
    with serving(tmp_path / "room") as server:
        show(browser, server)
        eventually(lambda: text_of(browser, "#count") == "1,000 runs, 0 not ended", what="a thousand runs")
        assert text_of(browser, "#shown") == "1 to 50 of 1,000"
        assert titles(browser)[::49] == ["run-0000", "run-0049"]
        browser.find_element(By.ID, "next").click()
        assert titles(browser)[::49] == ["run-0050", "run-0099"]
        assert browser.current_url.endswith("#page=2")
        eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".spark svg")) == 50, what="fifty small curves")
        browser.find_element(By.ID, "find").send_keys("0999")
        assert titles(browser) == ["run-0999"]
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, ".spark svg"), what="its curve")

        asked = browser.execute_script(ASKED)
        assert len([path for path in asked if "/series?" in path]) <= 110
        assert len([path for path in asked if path.startswith("/runs?")]) <= 5
        browser.get("about:blank")


def test_chosen_runs_are_compared_and_the_way_back_keeps_them(page: Chrome, eventually: Eventually) -> None:
    assert not page.find_element(By.ID, "compare").is_displayed()
    for number in (1, 3):
        page.find_element(By.CSS_SELECTOR, f"#rows tr:nth-child({number}) input").click()
    assert text_of(page, "#compare") == "Compare 2 runs"
    page.find_element(By.ID, "compare").click()

    eventually(lambda: count_pixels(page, "#curve", "run-2") > 100, what="the second curve")
    assert count_pixels(page, "#curve", "run-1") > 100
    assert page.current_url.endswith("#runs=aaaaaaaaaaaa%2Ccccccccccccc&compare=1")
    page.back()
    eventually(lambda: len(titles(page)) == len(RUNS), what="the list")
    assert len(page.find_elements(By.CSS_SELECTOR, "#rows input:checked")) == 2


def test_the_values_are_those_of_a_step_or_of_each_runs_last_or_best_record(comparison: Chrome) -> None:
    def row(title: str) -> list[str]:
        rows = comparison.find_elements(By.CSS_SELECTOR, "#values tbody tr")
        found = next(item for item in rows if item.text.startswith(title))
        return [cell.text.partition("\n")[0] for cell in found.find_elements(By.TAG_NAME, "td")]

    assert row("Record of step") == ["4,200", "4,200"]
    assert row("Quality KI") == ["0.7370", "0.6970"]
    best = comparison.find_elements(By.CSS_SELECTOR, "#values td.best")
    assert best[0].text.startswith("0.7370")
    Select(comparison.find_element(By.ID, "at")).select_by_value("700")
    assert row("Record of step") == ["700", "700"]
    assert row("Quality KI") == ["0.6407", "0.6007"]
    assert "at=700" in comparison.current_url


def test_only_settings_that_differ_are_shown(comparison: Chrome, server: Server, eventually: Eventually) -> None:
    assert text_of(comparison, "#settings tbody").split() == ["MAX_LR", "0.0001", "0.0002"]
    show(comparison, server, "#runs=aaaaaaaaaaaa,dddddddddddd&compare=1")
    eventually(lambda: "All settings of these runs are equal." in text_of(comparison, "#comparison"), what="none")


@pytest.mark.parametrize(("over", "last"), [("samples", "33,600"), ("time", "0.58")])
def test_curves_can_be_over_samples_and_over_time(
    browser: Chrome, server: Server, eventually: Eventually, over: str, last: str
) -> None:
    show(browser, server, f"#runs=aaaaaaaaaaaa,bbbbbbbbbbbb&compare=1&value=total_loss_value&over={over}")
    eventually(lambda: count_pixels(browser, "#curve", "run-2") > 100, what="the curves")

    label = browser.find_element(By.ID, "curve").get_attribute("aria-label") or ""
    assert label.startswith("Total loss over")
    chart = browser.find_element(By.CSS_SELECTOR, "#curve .u-over")
    browser.execute_script(POINT_AT_THE_END, chart)
    eventually(lambda: text_of(browser, "#curve-at").startswith(f"at {last}"), what="the place of the cursor")


def test_a_name_and_a_note_are_saved_and_a_refusal_is_said(
    browser: Chrome, serving: Serving, tmp_path: Path, eventually: Eventually
) -> None:
    write_ended_runs(tmp_path / "room", 2)
    hostile = '<img src=x onerror="alert(1)">'
    with serving(tmp_path / "room") as server:
        show(browser, server)
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, ".edit button"), what="the buttons")
        browser.find_element(By.CSS_SELECTOR, ".edit button").click()
        browser.execute_script("document.getElementById('edit-name').value = 'a\\u0007'")
        browser.find_element(By.ID, "edit-save").click()
        eventually(lambda: "cannot be printed" in text_of(browser, "#edit-problem"), what="the refusal")
        browser.execute_script("document.getElementById('edit-name').value = arguments[0]", hostile)
        browser.find_element(By.ID, "edit-note").send_keys("to be compared")
        browser.find_element(By.ID, "edit-save").click()

        eventually(lambda: titles(browser)[0] == hostile, what="the name as it was given")
        entry = requests.get(f"{server.url}/runs", timeout=10).json()["runs"][0]
        assert (entry["name"], entry["note"]) == (hostile, "to be compared")
        event = requests.get(f"{server.url}{entry['url']}event-log", timeout=10).json()["events"][0]
        assert (event["kind"], event["details"]["source"]) == ("described", "web")
        browser.get("about:blank")


@pytest.mark.parametrize(("scope", "buttons"), [(TokenScope.READ, 0), (TokenScope.CONTROL, 2)])
def test_who_may_only_read_sees_no_buttons(
    browser: Chrome, serving: Serving, tmp_path: Path, eventually: Eventually, scope: TokenScope, buttons: int
) -> None:
    write_ended_runs(tmp_path / "room", 2)
    token = create_token(tmp_path / "tokens.json", "eva", scope)
    with serving(tmp_path / "room", API_TOKENS=str(tmp_path / "tokens.json")) as server:
        show(browser, server)
        eventually(lambda: browser.find_element(By.ID, "token-dialog").is_displayed(), what="the question for a token")
        browser.find_element(By.ID, "token").send_keys(token)
        browser.find_element(By.CSS_SELECTOR, "#token-form button").click()

        eventually(lambda: len(titles(browser)) == 2, what="the runs")
        rights = [path for path in browser.execute_script(ASKED) if "dry_run" in path]
        eventually(
            lambda: rights or [path for path in browser.execute_script(ASKED) if "dry_run" in path], what="rights"
        )
        eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".edit button")) == buttons, what="the buttons")
        browser.execute_script("sessionStorage.clear()")
        browser.get("about:blank")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_keeps_people_from_using_it(
    browser: Chrome, server: Server, eventually: Eventually, scheme: str, width: int
) -> None:
    """axe finds nothing serious, and nothing is wider than the window."""
    preference: dict[str, Any] = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for address in ("", f"#runs={','.join(RUNS)}&compare=1"):
            show(browser, server, address)
            shown = "#settings tbody tr" if address else ".edit button"
            eventually(lambda: browser.find_elements(By.CSS_SELECTOR, shown), what=shown)  # noqa: B023
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert accessibility.serious_findings(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_axe_is_the_one_that_was_published() -> None:
    assert hashlib.sha256(accessibility.SOURCE.read_bytes()).hexdigest() == accessibility.SHA256


def test_both_languages_have_every_text_of_the_page(repository: Path) -> None:
    """Those that the template and the scripts name; each language names the same values."""
    english, german = (texts(repository, f"runs-{language}") for language in ("en", "de"))
    pages = [repository / "api/templates/runs.html", *(repository / "api/static/runs").rglob("*.js")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    named = re.findall(r'data-t(?:-label|-hint)?="([\w.]+)"|\bsay\("([\w.]+)"', source)

    wanted = {first or second for first, second in named}
    assert len(wanted) > 60
    assert wanted - english.keys() == set()
    assert list(english) == list(german)
    values = [[sorted(re.findall(r"\{\w+\}", text)) for text in table.values()] for table in (english, german)]
    assert values[0] == values[1]


def test_the_page_speaks_german(browser: Chrome, server: Server, eventually: Eventually) -> None:
    show(browser, server)
    browser.execute_script("localStorage.setItem('leitstand-language', 'de')")
    try:
        show(browser, server)
        eventually(lambda: text_of(browser, "h1") == "Läufe", what="the title")
        eventually(lambda: "Beendet" in text_of(browser, "#rows"), what="a state")
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "de"
    finally:
        browser.execute_script("localStorage.clear()")

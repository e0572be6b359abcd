"""The page in a real browser, against a real server."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service.commands import CommandState
from service.run.record import encode_record, record_name
from service.run.state import RunState
from service.store.store import SeriesRow, Store
from tests.api.conftest import keep_alive
from tests.api.harness.browsing import browser_is_installed, complaints, count_pixels, text_of
from tests.api.harness.example_run import (
    LAST_STEP,
    RECORD_STEPS,
    RUN_ID,
    curves,
    example_record,
    save_record,
    write_run,
)
from tests.api.harness.serving import Server, Serving, lead_to

pytestmark = pytest.mark.skipif(not browser_is_installed(), reason="Chromium or its driver is not installed")

Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def _calm(browser: Chrome) -> Iterator[None]:
    """Every test ends without a complaint of the browser."""
    yield
    unexpected = [entry for entry in complaints(browser) if "ERR_CONNECTION_REFUSED" not in entry["message"]]
    assert unexpected == []


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server of this module looks for its run; each test's own is put there."""
    return tmp_path_factory.mktemp("served") / "run"


@pytest.fixture(scope="module")
def running_server(serving: Serving, link: Path) -> Iterator[Server]:
    with serving(link, API_COMMANDS_PER_MINUTE="1000000") as server:
        yield server


@pytest.fixture
def server(running_server: Server, link: Path, root: Path) -> Server:
    """A server of this test's run."""
    lead_to(link, root)
    return running_server


@contextmanager
def showing(browser: Chrome, server: Server) -> Iterator[None]:
    """The page of a server; the browser leaves before the run goes, or it would complain of a broken answer."""
    browser.get(server.url)
    try:
        yield
    finally:
        browser.get("about:blank")


@pytest.fixture
def living(root: Path) -> Iterator[Store]:
    """The store of a run that stays alive during the test."""
    store = write_run(root)
    keep_alive(store)
    yield store
    store.close()


@pytest.fixture
def page(server: Server, living: Store, browser: Chrome, eventually: Eventually) -> Iterator[Chrome]:
    """The dashboard of a living run, drawn."""
    with showing(browser, server):
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
        eventually(lambda: count_pixels(browser, "#quality-plot", "ki") > 0, what="the drawn curve")
        yield browser


def click(browser: Chrome, element_id: str) -> None:
    browser.find_element(By.ID, element_id).click()


def test_the_page_shows_where_the_run_stands(page: Chrome) -> None:
    assert text_of(page, "#step") == "4\u202f200"
    assert text_of(page, "#step-max") == "20\u202f000"
    assert text_of(page, "#percent") == "21.0 %"
    assert page.find_element(By.ID, "progress").get_attribute("value") == "0.21"
    assert text_of(page, "#eta") == "00:55:18"
    assert text_of(page, "#epoch") == "4"
    assert text_of(page, "#quality") == "0.6977"
    assert text_of(page, "#best") == "0.6977"
    assert text_of(page, "#speed") == "0.21 s/step"
    assert text_of(page, "#speed-note") == "38.1 samples/s"
    assert text_of(page, "#rate-note") == "cosine"
    assert text_of(page, "#strip-text") == "Live."
    assert [row.text.split()[0] for row in page.find_elements(By.CSS_SELECTOR, "#ranks tr")] == ["0", "1"]
    terms = [row.text.split() for row in page.find_elements(By.CSS_SELECTOR, "#terms tr")]
    assert [row[0] for row in terms] == ["L1", "Multi-scale", "Gradient", "Perceptual"]
    assert [row[2] for row in terms] == ["0.60", "0.20", "0.20", "0.05"]


def test_both_curves_are_drawn_and_the_overtaking_is_said(page: Chrome) -> None:
    assert count_pixels(page, "#loss-plot", "loss") > 200
    assert count_pixels(page, "#loss-plot", "val") > 50
    assert count_pixels(page, "#quality-plot", "ki") > 200
    assert count_pixels(page, "#quality-plot", "lr") > 100
    assert text_of(page, "#verdict") == "KI is ahead of LR by 0.0565, since the validation at step 2\u202f100."
    label = page.find_element(By.ID, "quality-plot").get_attribute("aria-label")
    assert label == "Quality over steps, latest: KI 0.6977, LR 0.6412"


def test_records_are_listed_newest_first_each_with_its_download(page: Chrome) -> None:
    links = page.find_elements(By.CSS_SELECTOR, "#records a")

    newest_first = [f"Statistik_{step}.json" for step in reversed(RECORD_STEPS)]
    assert [link.text for link in links] == newest_first
    assert [str(link.get_attribute("href")).rpartition("/")[2] for link in links] == newest_first
    assert "best" in page.find_element(By.CSS_SELECTOR, "#records tr").text


def test_of_many_records_the_newest_are_listed(
    root: Path, server: Server, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    steps = range(10_000, 10_600)
    for step in steps:
        record = example_record(step, time.time(), quality_ki_value=0.5)
        (root / record_name(step)).write_bytes(encode_record(record))
    with showing(browser, server):
        eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#records a")) == 500, what="500 records")
        assert text_of(browser, "#records a") == f"Statistik_{steps[-1]}.json"
        assert text_of(browser, "#records-note") == f"the newest 500 of {600 + len(RECORD_STEPS)} saved"
        best = browser.find_elements(By.CSS_SELECTOR, "#records .best")
        assert best == [], "an older record, which is not listed, is better"


COLUMNS = """
const [names, done] = arguments;
import("/static/history.js").then(async ({ History }) => {
  const history = new History();
  await history.update("a");
  done(history.columns(names));
}).catch((error) => done(String(error)));
"""


def test_a_long_history_keeps_its_spikes_and_its_end(server: Server, living: Store, browser: Chrome) -> None:
    first, count = LAST_STEP + 1, 12_000
    losses = {step: 0.02 + 1e-6 * (step % 7) for step in range(first, first + count)}
    losses[first + 7000] = 5.0
    qualities = {step: {"quality_ki_value": 0.6, "quality_lr_value": 0.5} for step in range(first, first + count, 5)}
    rows = [
        SeriesRow(step, time.time(), {"total_loss_value": loss, **qualities.get(step, {})})
        for step, loss in losses.items()
    ]
    living.series.add(RUN_ID, rows)
    living.runs.update(RUN_ID, step=first + count - 1)
    with showing(browser, server):
        steps, values = browser.execute_async_script(COLUMNS, ["total_loss_value"])
        compared = browser.execute_async_script(COLUMNS, ["quality_ki_value", "quality_lr_value"])

    drawn = dict(zip(steps, values, strict=True))
    assert drawn[first + 7000] == 5.0
    assert list(drawn) == sorted(drawn)
    assert len(drawn) < count / 2
    assert max(drawn) == first + count - 1
    assert all(losses[step] == value for step, value in drawn.items() if step in losses)
    pairs = [pair for step, *pair in zip(*compared, strict=True) if step >= first and None not in pair]
    assert len(pairs) > 100
    assert set(map(tuple, pairs)) == {(0.6, 0.5)}


def test_a_new_record_appears_by_itself(page: Chrome, living: Store, root: Path, eventually: Eventually) -> None:
    record = example_record(4300, time.time(), quality_ki_value=0.71, best_quality_ever=0.71)
    save_record(root, living, record)
    living.series.add(
        RUN_ID, [SeriesRow(4300, time.time(), {**curves(record), "quality_ki_value": 0.71, "quality_lr_value": 0.6412})]
    )
    living.runs.update(RUN_ID, step=4300, snapshot=record)

    eventually(lambda: text_of(page, "#records a") == "Statistik_4300.json", what="the new record in the list")
    eventually(lambda: text_of(page, "#best") == "0.7100", what="the new best quality")
    eventually(lambda: text_of(page, "#quality-keys b") == "0.7100", what="the new point of the curve")


def test_validate_is_queued_and_its_outcome_shown(page: Chrome, living: Store, eventually: Eventually) -> None:
    click(page, "validate")
    eventually(lambda: living.commands.find(RUN_ID, CommandState.QUEUED), what="a queued command")

    (command,) = living.commands.find(RUN_ID)
    assert (command.kind, command.actor, command.source) == ("validate", "anonymous@127.0.0.1", "web")
    eventually(lambda: text_of(page, "#outcome-state") == "queued", what="the outcome queued")
    assert not page.find_element(By.ID, "validate").is_enabled()

    living.commands.begin(command.id)
    eventually(lambda: text_of(page, "#outcome-state") == "running", what="the outcome running")
    living.commands.finish(command.id, CommandState.DONE, step=4212, result={"record": "Statistik_4212.json"})
    eventually(lambda: text_of(page, "#outcome-state") == "done", what="the outcome done")
    assert "step 4\u202f212. Saved as Statistik_4212.json" in text_of(page, "#outcome-text")
    eventually(lambda: page.find_element(By.ID, "validate").is_enabled(), what="the button enabled again")


def test_a_failed_command_says_why(page: Chrome, living: Store, eventually: Eventually) -> None:
    click(page, "checkpoint")
    eventually(lambda: living.commands.find(RUN_ID), what="a command")
    living.commands.finish(living.commands.find(RUN_ID)[0].id, CommandState.FAILED, reason="the disk is full")

    eventually(lambda: "the disk is full" in text_of(page, "#outcome-text"), what="the reason")
    assert text_of(page, "#outcome-state") == "failed"


def test_pause_becomes_resume_only_when_the_run_is_paused(page: Chrome, living: Store, eventually: Eventually) -> None:
    click(page, "pause")
    eventually(lambda: living.commands.find(RUN_ID), what="a command")
    assert text_of(page, "#pause") == "Pause"

    living.runs.update(RUN_ID, state=RunState.PAUSED.value)
    living.commands.finish(living.commands.find(RUN_ID)[0].id, CommandState.DONE, step=4200)
    eventually(lambda: text_of(page, "#pause") == "Resume", what="the button Resume")
    assert text_of(page, "#badge") == "Paused"

    eventually(lambda: page.find_element(By.ID, "pause").is_enabled(), what="the button enabled")
    click(page, "pause")
    eventually(lambda: [row.kind for row in living.commands.find(RUN_ID)] == ["pause", "resume"], what="both commands")


def test_stop_asks_first(page: Chrome, living: Store, eventually: Eventually) -> None:
    click(page, "stop")
    page.find_element(By.CSS_SELECTOR, "#stop-dialog button[value=cancel]").click()
    click(page, "stop")
    assert living.commands.find(RUN_ID) == []

    click(page, "stop-confirm")
    eventually(lambda: [row.kind for row in living.commands.find(RUN_ID)] == ["stop"], what="the command")


def test_a_lost_trainer_is_named_and_cannot_be_commanded(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.runs.update(RUN_ID, heartbeat_at=time.time() - 30)

    eventually(lambda: text_of(page, "#badge") == "Trainer lost", what="the badge")
    assert "no sign of life" in text_of(page, "#strip-text")
    assert " s ago" in text_of(page, "#strip-age")
    buttons = [page.find_element(By.ID, name) for name in ("validate", "pause", "checkpoint", "stop")]
    assert not any(button.is_enabled() for button in buttons)


def test_a_lost_api_is_named_and_found_again(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with serving(root) as server:
        browser.get(server.url)
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(20)
        eventually(lambda: "does not answer" in text_of(browser, "#strip-text"), what="the alarm")
        eventually(lambda: " s old" in text_of(browser, "#strip-age"), what="the age of the data")
        assert text_of(browser, "#badge") == "Unknown, was running"
        assert text_of(browser, "#step") == "4\u202f200"
    complaints(browser)  # of an answer that broke off, too
    with serving(root, at_port=server.port):
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running again")
        assert text_of(browser, "#strip-text") == "Live."
        browser.get("about:blank")


def test_before_the_first_run_the_page_says_how_to_start_one(
    root: Path, server: Server, browser: Chrome, eventually: Eventually
) -> None:
    with showing(browser, server):
        eventually(lambda: "leitstand up" in text_of(browser, "#strip-text"), what="the sentence")
        assert text_of(browser, "#badge") == "No run"
        assert "No record yet" in text_of(browser, "#records")

        store = write_run(root, last_step=0, state=RunState.STARTING)
        eventually(lambda: text_of(browser, "#badge") == "Starting", what="the badge Starting")
        store.close()


def test_a_token_is_asked_for_and_downloads_bear_it(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with serving(root, API_TOKEN="secret") as server, showing(browser, server):
        eventually(lambda: browser.find_element(By.ID, "token-dialog").is_displayed(), what="the dialog")
        for wrong in ("wrong", "geheim €"):
            enter_token(browser, wrong)
            eventually(lambda: "not accepted" in text_of(browser, "#token-text"), what="the refusal")
            eventually(lambda: browser.find_element(By.ID, "token-dialog").is_displayed(), what="the dialog again")
        enter_token(browser, "secret")
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
        assert "secret" not in browser.current_url
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#records a"), what="the list")

        browser.execute_script("""
            window.saved = null;
            const create = URL.createObjectURL;
            URL.createObjectURL = (blob) => {
              blob.text().then((text) => { window.saved = text; });
              return create(blob);
            };
        """)
        browser.find_element(By.CSS_SELECTOR, "#records a").click()
        eventually(lambda: browser.execute_script("return window.saved"), what="the downloaded bytes")
        assert browser.execute_script("return window.saved").encode() == (root / "Statistik_4200.json").read_bytes()


def enter_token(browser: Chrome, token: str) -> None:
    field = browser.find_element(By.ID, "token")
    field.send_keys(token)
    browser.find_element(By.CSS_SELECTOR, "#token-form button").click()


def test_a_hidden_page_asks_nothing(page: Chrome) -> None:
    count = "return performance.getEntriesByType('resource').filter((row) => row.name.endsWith('/state')).length"
    page.execute_script("""
        Object.defineProperty(document, "hidden", {value: true, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    """)
    page.execute_async_script("setTimeout(arguments[0], 300)")
    before = page.execute_script(count)
    page.execute_async_script("setTimeout(arguments[0], 2500)")

    assert page.execute_script(count) == before
    page.execute_script("""
        Object.defineProperty(document, "hidden", {value: false, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    """)
    page.execute_async_script("setTimeout(arguments[0], 800)")
    assert page.execute_script(count) > before


def test_while_nothing_changes_only_the_state_is_asked(page: Chrome) -> None:
    page.execute_async_script("setTimeout(arguments[0], 1500)")
    page.execute_script("performance.clearResourceTimings()")
    page.execute_async_script("setTimeout(arguments[0], 2500)")

    asked = page.execute_script("return performance.getEntriesByType('resource').map((row) => row.name)")
    assert {url.rpartition("/")[2] for url in asked} == {"state"}


@pytest.mark.parametrize("width", [1280, 820, 390])
def test_nothing_sticks_out_at_any_width(page: Chrome, width: int) -> None:
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.execute_async_script("setTimeout(arguments[0], 300)")
        overhang = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
        assert page.execute_script(overhang) == 0
        assert count_pixels(page, "#quality-plot", "ki") > 100
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

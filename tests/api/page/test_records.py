"""The list of records in a real browser."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service.run.record import encode_record, record_name
from service.store.store import Store
from tests.api.harness.browsing import text_of
from tests.api.harness.dashboard import click, showing, texts_of
from tests.api.harness.example_run import RECORD_STEPS, example_record
from tests.api.harness.serving import Server

Eventually = Callable[..., None]


def test_records_are_listed_newest_first_each_with_its_download(page: Chrome) -> None:
    links = page.find_elements(By.CSS_SELECTOR, "#records a")

    newest_first = [f"Statistik_{step}.json" for step in reversed(RECORD_STEPS)]
    assert [link.text for link in links] == newest_first
    assert [str(link.get_attribute("href")).rpartition("/")[2] for link in links] == newest_first
    assert "best" in page.find_element(By.CSS_SELECTOR, "#records tr").text
    assert text_of(page, "#records-note") == "6 saved"


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


def test_a_head_of_the_list_sorts_it(page: Chrome) -> None:
    head = page.find_element(By.CSS_SELECTOR, "#records-head [data-key=validation_loss_value]")
    page.execute_script("arguments[0].click()", head)
    assert texts_of(page, "#records a")[0] == "Statistik_700.json"
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"

    page.execute_script("arguments[0].click()", head)
    assert texts_of(page, "#records a")[0] == "Statistik_4200.json"


def test_two_records_are_compared(page: Chrome, eventually: Eventually) -> None:
    assert not page.find_element(By.ID, "records-compare").is_enabled()
    boxes = page.find_elements(By.CSS_SELECTOR, "#records input")
    for box in (boxes[0], boxes[1], boxes[-1]):
        page.execute_script("arguments[0].click()", box)
    assert [box.is_selected() for box in boxes] == [False, True, False, False, False, True], "the last two"

    click(page, "records-compare")

    eventually(lambda: "psnr_ki_db" in texts_of(page, "#compare th"), what="the keys")
    assert (text_of(page, "#compare-one"), text_of(page, "#compare-other")) == ("700", "3,500")
    row = texts_of(page, "#compare th").index("quality_ki_value")
    cells = texts_of(page, f"#compare tr:nth-child({row + 1}) td")
    assert cells == ["0.5837", "0.6929", "+0.1092"]


def test_a_record_is_shown_as_json(page: Chrome, root: Path, eventually: Eventually) -> None:
    page.execute_script("document.querySelector('#records .plain').click()")

    eventually(lambda: "{" in text_of(page, "#stack-text"), what="the record")
    assert json.loads(text_of(page, "#stack-text")) == json.loads((root / "Statistik_4200.json").read_text())


def test_all_records_are_offered_as_csv(page: Chrome, server: Server) -> None:
    link = page.find_element(By.ID, "records-csv")

    assert str(link.get_attribute("href")) == f"{server.url}/statistics?format=csv"

"""How the page hears of the run: by one event stream, of which nothing is lost, and fetching only what is new."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import requests
from selenium.webdriver import Chrome

from service.store.store import SeriesRow, Store
from tests.api.harness.browsing import complaints, text_of
from tests.api.harness.dashboard import forget_requests, requested, showing, texts_of
from tests.api.harness.example_run import LAST_STEP, RUN_ID, curves, example_record, save_record
from tests.api.harness.serving import Serving

Eventually = Callable[..., None]


def test_a_new_record_appears_by_itself(page: Chrome, living: Store, root: Path, eventually: Eventually) -> None:
    record = example_record(4300, time.time(), quality_ki_value=0.71, best_quality_ever=0.71)
    living.series.add(
        RUN_ID, [SeriesRow(4300, time.time(), {**curves(record), "quality_ki_value": 0.71, "quality_lr_value": 0.6412})]
    )
    save_record(root, living, record)
    living.runs.update(RUN_ID, step=4300, snapshot=record)

    eventually(lambda: text_of(page, "#records a.download") == "Statistik_4300.json", what="the record in the list")
    eventually(lambda: text_of(page, "#best") == "0.7100", what="the new best quality")
    eventually(lambda: text_of(page, "#quality-keys b") == "0.7100", what="the new point of the curve")


def test_while_nothing_changes_nothing_is_asked(page: Chrome) -> None:
    page.execute_async_script("setTimeout(arguments[0], 1500)")
    forget_requests(page)
    page.execute_async_script("setTimeout(arguments[0], 2500)")

    assert requested(page) == []


def test_a_log_point_costs_no_request_of_its_curves_lists_or_pictures(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    page.execute_async_script("setTimeout(arguments[0], 1500)")
    forget_requests(page)
    record = example_record(4300, time.time(), total_loss_value=0.5)

    living.series.add(RUN_ID, [SeriesRow(4300, time.time(), {"total_loss_value": 0.5})])
    living.runs.update(RUN_ID, step=4300, snapshot=record)

    eventually(lambda: text_of(page, "#loss-keys b") == "0.5000", what="the point on the curve")
    eventually(lambda: text_of(page, "#step") == "4,300", what="the step")
    assert {path.partition("?")[0] for path in requested(page)} <= {"/ranks"}


def test_the_curves_are_asked_for_before_it_is_known_which_run_it_is(page: Chrome, eventually: Eventually) -> None:
    eventually(lambda: any("dry_run" in path for path in requested(page)), what="the end of the first visit")
    paths = requested(page)

    first, *others = [path for path in paths if path.startswith("/series")]
    assert paths.index(first) < paths.index("/state")
    assert "from=0&points=" in first
    assert others
    assert all("from=0&" not in path for path in others)  # the whole is asked for once


def test_after_a_break_the_stream_goes_on_where_it_was(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with serving(root) as server:
        browser.get(server.url)
        eventually(lambda: "Record" in str(texts_of(browser, "#events .event-text")), what="the list")
        eventually(lambda: "polling" not in text_of(browser, "#link-text"), what="the stream")
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(20)
        eventually(lambda: "does not answer" in text_of(browser, "#banner-title"), what="the alarm")
    complaints(browser)
    living.events.add(RUN_ID, 4251, "set", {"LR_SCALE": 0.5})
    living.series.add(RUN_ID, [SeriesRow(4300, time.time(), {"total_loss_value": 0.75})])
    with serving(root, at_port=server.port):
        eventually(lambda: "Changed LR_SCALE 0.5" in texts_of(browser, "#events .event-text"), what="what was missed")
        eventually(lambda: text_of(browser, "#loss-keys b") == "0.7500", what="the log point that was missed")
        assert texts_of(browser, "#events .event-text").count("Changed LR_SCALE 0.5") == 1
        browser.get("about:blank")
    complaints(browser)


def test_without_a_stream_the_page_asks_every_second(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with (
        serving(root, API_STREAMS="1") as server,
        requests.get(f"{server.url}/events", stream=True, timeout=20),
        showing(browser, server),
    ):
        eventually(lambda: "polling" in text_of(browser, "#link-text"), what="the poll")
        living.events.add(RUN_ID, 4251, "set", {"LR_SCALE": 0.5})
        living.series.add(RUN_ID, [SeriesRow(4300, time.time(), {"total_loss_value": 0.75})])
        living.runs.update(RUN_ID, step=4300)

        eventually(lambda: text_of(browser, "#step") == "4,300", what="the step")
        eventually(lambda: text_of(browser, "#loss-keys b") == "0.7500", what="the point on the curve")
        eventually(lambda: "Changed LR_SCALE 0.5" in texts_of(browser, "#events .event-text"), what="the entry")


def test_without_a_stream_only_what_is_new_is_fetched(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with (
        serving(root, API_STREAMS="1") as server,
        requests.get(f"{server.url}/events", stream=True, timeout=20),
        showing(browser, server),
    ):
        eventually(lambda: "polling" in text_of(browser, "#link-text"), what="the poll")
        eventually(lambda: any("dry_run" in path for path in requested(browser)), what="the end of the first visit")
        page_settles(browser)
        forget_requests(browser)
        record = example_record(4300, time.time(), quality_ki_value=0.71, best_quality_ever=0.71)
        living.series.add(RUN_ID, [SeriesRow(4300, time.time(), {**curves(record), "total_loss_value": 0.75})])
        save_record(root, living, record)
        living.events.add(RUN_ID, 4300, "set", {"LR_SCALE": 0.5})
        living.runs.update(RUN_ID, step=4300, snapshot=record)

        eventually(lambda: text_of(browser, "#loss-keys b") == "0.7500", what="the point on the curve")
        eventually(lambda: "Changed LR_SCALE 0.5" in texts_of(browser, "#events .event-text"), what="the entry")
        eventually(lambda: len(texts_of(browser, "#records a.download")) == 7, what="the record")
        asked = [path for path in requested(browser) if path.partition("?")[0] not in {"/state", "/events", "/ranks"}]
        lists = ("/statistics", "/commands", "/checkpoints", "/alerts", "/event-log?limit=500", "/previews?limit=1000")
        assert [path for path in asked if path.startswith(lists) and "step=4300" not in path] == []
        assert all("after=" in path for path in asked if path.startswith("/event-log"))
        assert all("from=42" in path or "from=43" in path for path in asked if path.startswith("/series"))


def page_settles(browser: Chrome) -> None:
    browser.execute_async_script("setTimeout(arguments[0], 1500)")


def test_two_windows_share_one_stream(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with serving(root) as server:
        browser.get(server.url)
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge")
        first = browser.current_window_handle
        browser.switch_to.new_window("window")
        try:
            browser.get(server.url)
            eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge in the second window")
            living.series.add(RUN_ID, [SeriesRow(4300, time.time(), {"total_loss_value": 0.75})])
            for window in browser.window_handles:
                browser.switch_to.window(window)
                assert not browser.execute_script("return document.hidden")
                eventually(lambda: text_of(browser, "#loss-keys b") == "0.7500", what="the point in both")
            assert "leitstand_api_event_streams 1.0" in requests.get(f"{server.url}/metrics", timeout=20).text
        finally:
            browser.get("about:blank")
            for handle in set(browser.window_handles) - {first}:
                browser.switch_to.window(handle)
                browser.close()
            browser.switch_to.window(first)
            browser.get("about:blank")


def test_after_a_rollback_the_curve_ends_where_the_run_went_back(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    living.series.add(RUN_ID, [SeriesRow(LAST_STEP + 100, time.time(), {"total_loss_value": 0.75})])
    eventually(lambda: text_of(page, "#loss-keys b") == "0.7500", what="the point that is given up")

    living.move_to_branch(RUN_ID, LAST_STEP, f"{RUN_ID}-branch-0")
    living.events.add(RUN_ID, LAST_STEP, "rollback", {"checkpoint": f"step_{LAST_STEP:07d}"})

    kept = significant(example_record(LAST_STEP, time.time())["total_loss_value"])
    eventually(lambda: text_of(page, "#loss-keys b") == kept, what="the point before")


def significant(value: float) -> str:
    """A small number as the page writes it: four digits that matter."""
    return f"{value:.5f}" if value < 0.1 else f"{value:.4f}"


def test_the_whole_page_weighs_little(page: Chrome) -> None:
    """Files, scripts, lists and curves of a first visit, before compression; pictures of the run come on top."""
    sizes = page.execute_script(
        "return ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
        ".map(({ decodedBodySize }) => decodedBodySize)"
    )

    assert 200_000 < sum(sizes) < 350_000

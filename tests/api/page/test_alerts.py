"""Notifications of the browser for alerts, in real Chromium with the permission granted and without."""

import time
from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver import Chrome

from service.store.store import Store
from tests.api.harness.browsing import text_of
from tests.api.harness.dashboard import click, is_shown, texts_of
from tests.api.harness.example_run import LAST_STEP, RUN_ID

Eventually = Callable[..., None]
REMEMBER = """
window.told = [];
const Real = Notification;
window.Notification = class extends Real {
  constructor(title, options) {
    super(title, options);
    this.addEventListener("show", () => told.push([title, options.body, options.tag]));
    this.addEventListener("error", () => told.push(["refused"]));
  }
};
"""
"""A notification of the browser is one of the system, which no page can see: what was really shown is remembered."""


@pytest.fixture
def granted(own_page: Chrome) -> Iterator[Chrome]:
    """The page in a browser that lets it notify."""
    own_page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["notifications"]})
    own_page.execute_script(REMEMBER)
    yield own_page
    own_page.execute_cdp_cmd("Browser.resetPermissions", {})


def fail_checkpoint(store: Store) -> None:
    details = {"checkpoint": f"step_{LAST_STEP:07d}", "reason": "no space left"}
    store.events.add(RUN_ID, LAST_STEP, "checkpoint failed", details)


def test_where_it_is_allowed_an_alert_that_begins_is_a_notification(
    granted: Chrome, living: Store, eventually: Eventually
) -> None:
    fail_checkpoint(living)

    eventually(lambda: granted.execute_script("return told"), what="the notification")
    ((title, body, tag),) = granted.execute_script("return told")
    assert (title, tag) == ("Leitstand: checkpoint failed", "checkpoint_failed")
    assert "no space left" in body


def test_an_alert_that_ends_is_no_notification(granted: Chrome, living: Store, eventually: Eventually) -> None:
    over = {"name": "disk", "is_on": False, "since": time.time(), "sentence": "The disk has room again."}
    living.events.add(RUN_ID, None, "alert", over)

    eventually(lambda: over["sentence"] in texts_of(granted, "#events .event-text"), what="the entry")
    assert granted.execute_script("return told") == []


def test_a_hidden_page_that_may_notify_goes_on_listening(
    granted: Chrome, living: Store, eventually: Eventually
) -> None:
    granted.execute_script("""
        Object.defineProperty(document, "hidden", {value: true, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    """)

    fail_checkpoint(living)

    eventually(lambda: granted.execute_script("return told"), what="the notification")


def test_the_button_asks_for_the_permission_and_goes_once_it_is_answered(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    assert text_of(page, "#notify") == "Tell me of alerts"
    assert is_shown(page, "#notify")
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["notifications"]})
    try:
        click(page, "notify")

        eventually(lambda: not is_shown(page, "#notify"), what="the end of the question")
        assert page.execute_script("return Notification.permission") == "granted"
    finally:
        page.execute_cdp_cmd("Browser.resetPermissions", {})

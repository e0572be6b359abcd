"""Tokens on the page: asked for, kept in the tab, and what one that may only read leaves out."""

from collections.abc import Callable
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service.auth.tokens import TokenScope, create_token, revoke_token
from service.store.store import Store
from tests.api.harness.browsing import complaints, text_of
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.dashboard import is_shown, set_field, showing
from tests.api.harness.example_run import LAST_STEP, RUN_ID
from tests.api.harness.serving import Serving

Eventually = Callable[..., None]


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


def test_a_page_that_came_over_plain_http_from_another_machine_warns_of_entering_a_token(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with serving(root, API_TOKEN="secret") as server:
        for url, is_warned in ((server.url, False), (f"http://evil.example:{server.port}", True)):
            browser.get(url)
            eventually(lambda: browser.find_element(By.ID, "token-dialog").is_displayed(), what="the dialog")
            assert browser.find_element(By.ID, "token-warning").is_displayed() == is_warned
        browser.get("about:blank")
    # Chromium says of such a page that it ignores the header, which is right over TLS.
    assert [entry for entry in complaints(browser) if "Cross-Origin-Opener-Policy" not in entry["message"]] == []


def test_a_token_that_may_only_read_sees_no_buttons(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually, tmp_path: Path
) -> None:
    write_checkpoint(root, LAST_STEP)
    secret = create_token(tmp_path / "tokens.json", "watcher", TokenScope.READ)
    with serving(root, API_TOKENS=str(tmp_path / "tokens.json")) as server, showing(browser, server):
        eventually(lambda: is_shown(browser, "#token-dialog"), what="the dialog")
        enter_token(browser, secret)
        eventually(lambda: is_shown(browser, "#read-only"), what="the sentence")
        buttons = (
            "#validate",
            "#pause",
            "#checkpoint",
            "#stop",
            "#change",
            "#go-back",
            "#records .control",
            "#at-step",
            "#why",
            "#edit-place",
        )
        assert [name for name in buttons if is_shown(browser, name)] == []
        browser.find_element(By.TAG_NAME, "body").send_keys("vcs")
        assert not is_shown(browser, "#stop-dialog")
        assert living.commands.find(RUN_ID) == []


def test_a_token_that_is_revoked_meanwhile_is_asked_for_again_and_nothing_is_claimed(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually, tmp_path: Path
) -> None:
    secret = create_token(tmp_path / "tokens.json", "watcher", TokenScope.READ)
    with serving(root, API_TOKENS=str(tmp_path / "tokens.json")) as server, showing(browser, server):
        eventually(lambda: is_shown(browser, "#token-dialog"), what="the dialog")
        enter_token(browser, secret)
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")

        revoke_token(tmp_path / "tokens.json", "watcher")
        set_field(browser, "#events-kind", "trouble")
        living.runs.update(RUN_ID, step=LAST_STEP + 1)

        eventually(lambda: is_shown(browser, "#token-dialog"), what="the dialog again")
        assert text_of(browser, "#badge") == "Unknown"
        assert "no access" in text_of(browser, "#link-text")
        assert text_of(browser, "#since") == "was running"


def enter_token(browser: Chrome, token: str) -> None:
    field = browser.find_element(By.ID, "token")
    field.send_keys(token)
    browser.find_element(By.CSS_SELECTOR, "#token-form button").click()

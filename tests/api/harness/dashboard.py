"""What tests do with the page: open it, press its buttons, fill its fields."""

from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.api.harness.serving import Server

SET = """
const [selector, value] = arguments;
const field = document.querySelector(selector);
if (field.type === "checkbox") field.checked = value;
else field.value = value;
for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
"""
REQUESTED = """
const requests = performance.getEntriesByType("resource").map(({ name }) => new URL(name));
return requests.map((url) => url.pathname + url.search);
"""

INTERCEPT = """
const [part, way] = arguments;
const plain = window.plainFetch = window.fetch;
Object.assign(window, { held: [], failed: 0 });
const ways = {
  hold: (ask) => new Promise((answer) => held.push(() => answer(ask()))),
  delay: async (ask) => { const answer = await ask(); return new Promise((done) => held.push(() => done(answer))); },
  fail: () => { failed += 1; return Promise.reject(new TypeError()); },
};
window.fetch = (address, options) => {
  const ask = () => plain(address, options);
  return String(address).includes(part) ? ways[way](ask) : ask();
};
"""
LET_GO = "window.fetch = window.plainFetch; for (const send of window.held) send();"


@contextmanager
def showing(browser: Chrome, server: Server, address: str = "/") -> Iterator[None]:
    """The page of a server; the browser leaves before the run goes, or it would complain of a broken answer."""
    browser.get(server.url + address)
    try:
        yield
    finally:
        browser.get("about:blank")


def click(browser: Chrome, element_id: str) -> None:
    """Press what has this id, as a person does: it must be visible and not covered."""
    element = browser.find_element(By.ID, element_id)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def set_field(browser: Chrome, selector: str, value: str | bool) -> None:
    """Give a field a value, with the events that a person's typing has."""
    browser.execute_script(SET, selector, value)


@contextmanager
def holding(browser: Chrome, part: str) -> Iterator[None]:
    """Send the page's requests whose address has this part only afterwards: an API that takes its time."""
    browser.execute_script(INTERCEPT, part, "hold")
    try:
        yield
    finally:
        browser.execute_script(LET_GO)


@contextmanager
def delayed(browser: Chrome, part: str) -> Iterator[None]:
    """Let answers to the page's requests whose address has this part arrive only afterwards."""
    browser.execute_script(INTERCEPT, part, "delay")
    try:
        yield
    finally:
        browser.execute_script(LET_GO)


def held(browser: Chrome) -> int:
    """How many requests or answers wait inside `holding` or `delayed`."""
    return int(browser.execute_script("return window.held.length"))


@contextmanager
def failing(browser: Chrome, part: str) -> Iterator[None]:
    """Let the page's requests whose address has this part end without an answer."""
    browser.execute_script(INTERCEPT, part, "fail")
    try:
        yield
    finally:
        browser.execute_script(LET_GO)


def failed(browser: Chrome) -> int:
    """How many requests ended inside `failing`."""
    return int(browser.execute_script("return window.failed"))


def texts_of(browser: Chrome, selector: str) -> list[str]:
    """The texts of all that match, read at once: they may be replaced meanwhile."""
    return list(
        browser.execute_script(
            "return Array.from(document.querySelectorAll(arguments[0]), (place) => place.textContent)", selector
        )
    )


def is_shown(browser: Chrome, selector: str) -> bool:
    """Whether a person sees the first that matches."""
    return any(place.is_displayed() for place in browser.find_elements(By.CSS_SELECTOR, selector)[:1])


def requested(browser: Chrome) -> list[str]:
    """Paths and queries that the page has asked for since it was loaded, or since `forget_requests`."""
    return list(browser.execute_script(REQUESTED))


def forget_requests(browser: Chrome) -> None:
    """Let `requested` begin anew."""
    browser.execute_script("performance.clearResourceTimings()")

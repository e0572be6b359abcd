"""Headless Chromium for the time of a `with`, and what tests look at in the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

WINDOW = (1280, 900)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    f"--window-size={WINDOW[0]},{WINDOW[1]}",
    "--host-resolver-rules=MAP evil.example 127.0.0.1", "--disable-features=HttpsUpgrades",
)  # fmt: skip

COUNT_PIXELS = """
const canvas = document.querySelector(arguments[0] + " canvas");
if (!canvas || !canvas.width) return 0;
const probe = document.createElement("canvas").getContext("2d");
probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--" + arguments[1]).trim();
probe.fillRect(0, 0, 1, 1);
const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
const context = copy.getContext("2d", {willReadFrequently: true});
context.drawImage(canvas, 0, 0);
const pixels = context.getImageData(0, 0, copy.width, copy.height).data;
let count = 0;
for (let i = 0; i < pixels.length; i += 4) {
  const distance = Math.abs(pixels[i] - red) + Math.abs(pixels[i + 1] - green) + Math.abs(pixels[i + 2] - blue);
  if (pixels[i + 3] > 200 && distance < 30) count += 1;
}
return count;
"""


def browser_is_installed() -> bool:
    """Whether the browser and its driver can be started."""
    return all(map(shutil.which, ("chromium", "chromedriver")))


@contextmanager
def browsing(profile: Path) -> Iterator[Chrome]:
    """A browser with a fresh profile, to which evil.example is this machine; ended in any case, with its driver."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(profile / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(str(shutil.which("chromedriver")))
    browser = Chrome(options=options, service=service)
    browser.set_script_timeout(60)
    try:
        yield browser
    finally:
        browser.quit()
        service.stop()


def text_of(browser: Chrome, selector: str) -> str:
    """The text of the first element that matches, as it is shown."""
    return str(browser.execute_script("return document.querySelector(arguments[0]).innerText", selector))


def count_pixels(browser: Chrome, selector: str, colour: str) -> int:
    """How many pixels of the canvas inside `selector` have the page's colour of this name."""
    return int(browser.execute_script(COUNT_PIXELS, selector, colour))


def complaints(browser: Chrome) -> list[Any]:
    """What the browser's console complained of; answers that are refusals by design excepted."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry for entry in entries if "the server responded with a status of" not in entry["message"]]

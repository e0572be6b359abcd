"""Takes the README's picture of the dashboard: `python deploy/dashboard_picture.py [URL]`, while a run is served there.

Needs Chromium and its driver, and selenium (a test dependency).
"""

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "dashboard.webp"
SIZE = (1280, 1180)
QUALITY = 88
DRAWN_SECONDS = 60.0


def main() -> None:
    """Wait until the page has drawn its newest picture, and save what it shows."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5050/"
    with tempfile.TemporaryDirectory() as profile:
        options = Options()
        for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.binary_location = str(shutil.which("chromium"))
        browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            browser.set_window_size(*SIZE)
            browser.get(url)
            await_newest_picture(browser)
            content = browser.get_screenshot_as_png()
        finally:
            browser.quit()
    Image.open(io.BytesIO(content)).convert("RGB").save(PICTURE, "WEBP", quality=QUALITY, method=6)


def await_newest_picture(browser: Chrome) -> None:
    """Wait until the picture of the newest validation is drawn. Raises `TimeoutError`."""
    deadline = time.monotonic() + DRAWN_SECONDS
    while "newest" not in browser.execute_script("return document.getElementById('picture-at').textContent"):
        if time.monotonic() > deadline:
            raise TimeoutError("the page has not drawn a validation picture: is a run with previews served there?")
        time.sleep(0.1)
    time.sleep(1)  # curves and fonts


if __name__ == "__main__":
    main()

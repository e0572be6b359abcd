"""A run of a million steps on the screen: our page beside TensorBoard's and Aim's, in one browser.

    python -m venv TB && TB/bin/pip install tensorboard 'setuptools<81'; python -m venv AIM && AIM/bin/pip install aim
    python -m bench.reading.screens --store RUN [--tensorboard TB LOGS] [--aim AIM REPO] [--points N] [--rounds 5]

RUN is a run directory as `watch.py` fills it, LOGS and REPO are filled by `fill_screens.py`; what is not there is made.
All servers run at once and are warm; rounds go from one to the next. Medians (least, most), milliseconds:
    cold      from the call to a drawn curve, the browser's cache empty
    again     the same with what the browser kept
    pixels    of ours, again: from the start of the navigation to the first pixels of the page
    picture   of ours: from a key to the picture of another step
    answers   over HTTP, one connection: one series, the four that the page draws first, all
"""

import argparse
import io
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import requests
from PIL import Image
from selenium.webdriver import Chrome

from bench.reading.fill_screens import CURVES
from bench.reading.history import our_command, serving
from bench.reading.page import await_
from bench.reading.watch import fill, keep_alive
from tests.api.harness.browsing import browsing, count_pixels, text_of
from tests.api.harness.example_run import RECORD_STEPS

STRETCHES = 1000
ANSWERS_PER_ROUND = 5
SETTLED_SECONDS = 2.0
HAS_LINE = """
const roots = [document];
for (const root of roots) {
  for (const place of root.querySelectorAll("*")) if (place.shadowRoot) roots.push(place.shadowRoot);
  for (const path of root.querySelectorAll("path, polyline")) {
    const points = path.getAttribute("d") ?? path.getAttribute("points") ?? "";
    if (points.length > 1000 && path.getBoundingClientRect().width > 100) return true;
  }
}
return false;
"""
PAINTED = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
NEXT_PICTURE = """
const done = arguments[0], canvas = document.getElementById("picture");
const probe = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const colour = () => {
  probe.drawImage(canvas, 0.8 * canvas.width, canvas.height / 2, 1, 1, 0, 0, 1, 1);
  return probe.getImageData(0, 0, 1, 1).data.join();
};
const [before, began] = [colour(), performance.now()];
document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
const look = () => (colour() === before ? requestAnimationFrame(look) : done(performance.now() - began));
look();
"""  # noqa: E501

Milliseconds = dict[tuple[str, str], list[float]]
Page = tuple[str, str, Callable[[Chrome], bool]]
"""Name, address, and whether a curve is drawn."""


def main() -> None:
    """Fill what is missing, serve, measure, print."""
    options = _options()
    found: Milliseconds = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leitstand-screens-")))
        _fill_ours(options.store, options.points)
        ours = stack.enter_context(serving(our_command(), "/livez", environment={"DATA_ROOT": str(options.store)}))
        pages: list[Page] = [("leitstand", f"{ours}/", _is_ours_drawn)]
        if options.tensorboard:
            environment, logs = options.tensorboard
            pages.append(_tensorboard(stack, environment, logs, options.points))
        if options.aim:
            environment, repository = options.aim
            pages.append(_aim(stack, environment, repository, options.points))
        for number in range(options.rounds):
            _ask(found, ours, pages)
            for page in pages[number % len(pages) :] + pages[: number % len(pages)]:
                with browsing(folder / f"profile-{number}-{page[0]}") as browser:
                    _look(found, browser, page)
    for (name, what), values in found.items():
        median, least, most = statistics.median(values), min(values), max(values)
        print(f"{name:12} {what:20} {median:9.1f} ({least:.1f}, {most:.1f})")  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--tensorboard", nargs=2, type=Path, metavar=("TB", "LOGS"))
    parser.add_argument("--aim", nargs=2, type=Path, metavar=("AIM", "REPO"))
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


# The same run for all


def _fill_ours(root: Path, points: int) -> None:
    """A long run with a picture for each record, each of another colour."""
    if not root.exists():
        fill(root, points)
    keep_alive(root)
    for number, step in enumerate(RECORD_STEPS):
        content, path = io.BytesIO(), root / "previews" / f"step_{step}" / "bikes.webp"
        Image.effect_noise((1440, 270), 40 + 10 * number).convert("RGB").save(content, "WEBP", quality=80)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())


def _fill_peer(peer: str, environment: Path, folder: Path, points: int) -> str:
    """Fill where nothing is; returns the address of the run's page."""
    address = folder / "page.txt"
    if not address.exists():
        program = [str(environment / "bin/python"), "-m", "bench.reading.fill_screens", peer, str(folder), str(points)]
        address.write_text(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    return address.read_text().strip()


def _tensorboard(stack: ExitStack, environment: Path, logs: Path, points: int) -> Page:
    address = _fill_peer("tensorboard", environment, logs, points)
    command = [str(environment / "bin/tensorboard"), "--logdir", str(logs), "--port", "{port}"]
    url = stack.enter_context(serving(command, "/data/plugin/scalars/tags"))
    last = f"{url}/data/plugin/scalars/scalars?run=.&tag={CURVES[0]}"
    await_loaded(lambda: requests.get(last, timeout=30).json()[-1][1] >= points)
    # Its curves are on canvases that are not the page's; the table below each has the value of the last step.
    return "tensorboard", f"{url}{address}", lambda browser: f"{points:,}" in text_of(browser, "body")


def _aim(stack: ExitStack, environment: Path, repository: Path, points: int) -> Page:
    address = _fill_peer("aim", environment, repository, points)
    command = [str(environment / "bin/aim"), "up", "--repo", str(repository), "--port", "{port}", "--yes"]
    url = stack.enter_context(serving(command, "/"))
    return "aim", f"{url}{address}", lambda browser: bool(browser.execute_script(HAS_LINE))


def await_loaded(is_loaded: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until a server has read its run."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if is_loaded():
                return
        except (requests.RequestException, ValueError, IndexError):
            pass
        time.sleep(0.5)
    raise SystemExit(f"the run was not loaded within {seconds:g} s")


def _is_ours_drawn(browser: Chrome) -> bool:
    return count_pixels(browser, "#loss-plot", "loss") > 50 and count_pixels(browser, "#quality-plot", "ki") > 20


# Measuring


def _look(found: Milliseconds, browser: Chrome, page: Page) -> None:
    """Open a page cold and again; of ours, look at the first pixels and at another picture too."""
    name, address, is_drawn = page
    for what in ("cold", "again"):
        browser.get("about:blank")
        began = time.perf_counter()
        browser.get(address)
        await_(lambda: is_drawn(browser))
        _note(found, name, what, 1000 * (time.perf_counter() - began))
        time.sleep(SETTLED_SECONDS)
    if name == "leitstand":
        _note(found, name, "pixels", browser.execute_script(PAINTED))
        for _ in RECORD_STEPS[1:]:
            _note(found, name, "picture", browser.execute_async_script(NEXT_PICTURE))
            assert text_of(browser, "#picture-at")


def _ask(found: Milliseconds, ours: str, pages: list[Page]) -> None:
    """Time the same answers of the API, and one series of TensorBoard's."""
    questions = {
        ("leitstand", "one series"): f"{ours}/series?points={STRETCHES}&names={CURVES[0]}",
        ("leitstand", "four series"): f"{ours}/series?points={STRETCHES}&names={','.join(CURVES)}",
        ("leitstand", "all series"): f"{ours}/series?points={STRETCHES}",
    }
    for name, address, _ in pages:
        if name == "tensorboard":
            base = address.partition("/#")[0]
            questions["tensorboard", "one series"] = f"{base}/data/plugin/scalars/scalars?run=.&tag={CURVES[0]}"
    with requests.Session() as session:
        for _ in range(ANSWERS_PER_ROUND):
            for (name, what), url in questions.items():
                began = time.perf_counter()
                session.get(url, timeout=60).raise_for_status()
                _note(found, name, what, 1000 * (time.perf_counter() - began))


def _note(found: Milliseconds, name: str, what: str, milliseconds: float) -> None:
    found.setdefault((name, what), []).append(milliseconds)


if __name__ == "__main__":
    main()

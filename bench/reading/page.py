"""The page in headless Chromium on a long run: weight, time to both curves, memory, and what an open page costs.

    python -m bench.reading.page [--points 1000000] [--rounds 5] [--seconds 20] [--store FOLDER] [--before DIR]

Fills a run directory as `bench/reading/watch.py` does (kept and used again with --store) and serves it with gunicorn,
of this tree and, with --before, of another checkout, in turn. Bytes are counted by a proxy between browser and server.
    cold      bytes until both curves are drawn, with an empty cache; milliseconds until then
    again     the same with what the browser kept
    heap      MB of JavaScript after a collection of garbage
    quiet     bytes and processor of the browser a second, on a run that only gives signs of life
    live      the same while two log points a second come
"""

import argparse
import os
import selectors
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from selenium.webdriver import Chrome

from bench.reading.history import our_command, serving
from bench.reading.watch import fill, keep_alive
from service.store.store import SeriesRow, Store
from tests.api.harness.browsing import browsing, count_pixels
from tests.api.harness.example_run import RUN_ID, example_record

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
SETTLED_SECONDS = 3.0
BLOCK = 65536


class CountingProxy:
    """Passes connections on to a server, and counts the bytes that it answers."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        with client, server, selectors.DefaultSelector() as both, suppress(OSError):
            both.register(client, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in both.select():
                    data = key.fileobj.recv(BLOCK)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)
                    self.received += len(data) if key.fileobj is server else 0

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()


@dataclass
class Figures:
    """What was measured of one tree."""

    cold_bytes: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    again_bytes: list[float] = field(default_factory=list)
    again_ms: list[float] = field(default_factory=list)
    heap_mb: list[float] = field(default_factory=list)
    quiet_bytes: list[float] = field(default_factory=list)
    quiet_share: list[float] = field(default_factory=list)
    live_bytes: list[float] = field(default_factory=list)
    live_share: list[float] = field(default_factory=list)


def main() -> None:
    """Fill, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--store", type=Path, help="folder for the run; made if it is not there")
    parser.add_argument("--before", type=Path, help="another checkout")
    options = parser.parse_args()
    trees = {"now": CHECKOUT, **({} if options.before is None else {"before": options.before.resolve()})}
    figures = {name: Figures() for name in trees}
    with tempfile.TemporaryDirectory(prefix="leitstand-page-") as folder:
        root = options.store or Path(folder) / "run"
        if not root.exists():
            fill(root, options.points)
        for number in range(options.rounds):
            for name, tree in trees.items():
                keep_alive(root)
                measure(figures[name], root, tree, Path(folder) / f"profile-{number}-{name}", options.seconds)
    for name, found in figures.items():
        for what, values in vars(found).items():
            print(f"{name:7} {what:12} {statistics.median(values):12.2f} ({min(values):.2f}, {max(values):.2f})")  # noqa: T201


def measure(figures: Figures, root: Path, tree: Path, profile: Path, seconds: float) -> None:
    """Open the page cold and again, then leave it open for a while."""
    environment = {"DATA_ROOT": str(root)}
    with (
        serving(our_command(), "/livez", environment=environment, folder=tree) as url,
        counting(url) as proxy,
        browsing(profile) as browser,
    ):
        for sizes, times in ((figures.cold_bytes, figures.cold_ms), (figures.again_bytes, figures.again_ms)):
            before, milliseconds = proxy.received, open_page(browser, proxy.port)
            sizes.append(proxy.received - before)
            times.append(milliseconds)
            time.sleep(SETTLED_SECONDS)
        browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        figures.heap_mb.append(browser.execute_script("return performance.memory.usedJSHeapSize") / 1e6)
        for is_live, sizes, shares in (
            (False, figures.quiet_bytes, figures.quiet_share), (True, figures.live_bytes, figures.live_share),
        ):  # fmt: skip
            received, used = proxy.received, processor_seconds(browser)
            write_for(root, seconds, is_live=is_live)
            sizes.append((proxy.received - received) / seconds)
            shares.append((processor_seconds(browser) - used) / seconds)


@contextmanager
def counting(url: str) -> Iterator[CountingProxy]:
    """A proxy before the server at `url`."""
    proxy = CountingProxy(int(url.rpartition(":")[2]))
    try:
        yield proxy
    finally:
        proxy.close()


def open_page(browser: Chrome, port: int) -> float:
    """Milliseconds until both curves are drawn."""
    browser.get("about:blank")
    began = time.perf_counter()
    browser.get(f"http://127.0.0.1:{port}/")
    await_(lambda: count_pixels(browser, "#loss-plot", "loss") > 50)
    await_(lambda: count_pixels(browser, "#quality-plot", "ki") > 20)
    return 1000 * (time.perf_counter() - began)


def await_(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the curves were not drawn within {PATIENCE_SECONDS:g} s")
        time.sleep(0.005)


def processor_seconds(browser: Chrome) -> float:
    """What the browser's processes have used."""
    used = 0.0
    for process in psutil.Process(browser.service.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def write_for(root: Path, seconds: float, *, is_live: bool) -> None:
    """Write signs of life each second, and if `is_live` two log points a second, as a trainer does."""
    store, ends_at, number = Store(root / "leitstand.db"), time.monotonic() + seconds, 0
    while time.monotonic() < ends_at:
        number += 1
        now = time.time()
        if is_live:
            run = store.runs.latest()
            step = 1 if run is None else run.step + 1
            values = {"total_loss_value": 0.02, "learning_rate_value": 1e-4, "grad_norm": 0.1}
            store.series.add(RUN_ID, [SeriesRow(step, now, values)])
            store.runs.update(RUN_ID, step=step, snapshot=example_record(step, now))
        if number % 2:
            store.runs.update(RUN_ID, heartbeat_at=now + 1e5, progress_at=now + 1e5)
        time.sleep(0.5)
    store.close()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()

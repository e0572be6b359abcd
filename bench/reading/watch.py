"""`leitstand watch` on a long run: from the start of the command to the first whole picture, and the cost of a frame.

    python -m bench.reading.watch [--points 1000000] [--rounds 9] [--size 160x50] [--store FOLDER]

Fills a run directory with log points as `history_points.py` does (kept and used again with --store), serves it with
gunicorn, and starts the command in a terminal of its own. The picture is whole once the terminal has got both
curves, the ranks and the journal. Wall time, and processor time of the command until then; medians (least, most).
A frame is measured in this process: everything drawn anew, and what a log point changes, until the bytes for the
terminal are made.
"""

import argparse
import asyncio
import fcntl
import math
import os
import pty
import re
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import sqlalchemy as sa
from textual._compositor import CompositorUpdate

from bench.reading.history import our_command, serving
from service.cli.watch.app import Picture, WatchApp
from service.cli.watch.feed import Feed, Inbox
from service.cli.watch.updates import EventSeen
from service.client import Client
from service.client.sse import LiveEvent
from service.store.queries.ranks import RankRow
from service.store.rollups import writer
from service.store.store import Store
from service.store.tables import series
from tests.api.harness.example_run import RUN_ID, curves, example_record, write_run

TOGETHER = 5000
AHEAD_SECONDS = 24 * 3600.0
PATIENCE_SECONDS = 60.0
BRAILLE = re.compile("[⠁-⣿]")
FRAMES = 60


def main() -> None:
    """Fill, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", default="160x50")
    parser.add_argument("--store", type=Path, help="folder for the run; made if it is not there")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="leitstand-watch-") as folder:
        root = options.store or Path(folder) / "run"
        if not root.exists():
            fill(root, options.points)
        keep_alive(root)
        with serving(our_command(), "/livez", environment={"DATA_ROOT": str(root)}) as url:
            _print_starts([_first_picture(url, width, height) for _ in range(options.rounds)])
            asyncio.run(_measure_frames(url, (width, height)))


def fill(root: Path, points: int) -> None:
    """A run with records, whose history is as long as wanted."""
    write_run(root).close()
    store = Store(root / "leitstand.db", keep_open=True)
    with store.transaction() as connection:
        connection.execute(sa.delete(series))
    names = curves(example_record(700, 1.0))
    for start in range(1, points + 1, TOGETHER):
        with store.transaction() as connection:
            new = [(step, _values(names, step)) for step in range(start, min(start + TOGETHER, points + 1))]
            rows = [{"run_id": RUN_ID, "step": step, "time": 1.0, "values": values} for step, values in new]
            connection.execute(sa.insert(series), rows)
            writer.RollupWriter(connection, RUN_ID).add(new)
    store.close()


def _values(names: dict[str, float], step: int) -> dict[str, float]:
    """All values of a log point; two are curves with ripples."""
    ripple = 0.01 * math.sin(step / 37)
    loss, quality = 0.02 + math.exp(-step / 200_000) + ripple, 0.7 - 0.2 * math.exp(-step / 300_000)
    changed = {"total_loss_value": loss, "validation_loss_value": 1.1 * loss, "quality_ki_value": quality + ripple}
    return {**names, **changed}


def keep_alive(root: Path) -> None:
    """Date the heartbeat ahead, and let two ranks report."""
    store, ahead = Store(root / "leitstand.db"), time.time() + AHEAD_SECONDS
    store.runs.update(RUN_ID, heartbeat_at=ahead, progress_at=ahead, state="running")
    ranks = [RankRow(rank, ahead, "gpu-07", 1, f"cuda:{rank}", "all-reduce", 1, 0.1, None, None) for rank in (0, 1)]
    store.ranks.replace(RUN_ID, ranks)
    store.close()


# From the start of the command to the first whole picture


def _first_picture(url: str, width: int, height: int) -> tuple[float, float]:
    """Wall and processor seconds of the command until its picture was whole."""
    began = time.perf_counter()
    with _in_terminal(url, width, height) as (pid, terminal):
        screen = ""
        while not _is_whole(screen):
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise SystemExit(f"no whole picture within {PATIENCE_SECONDS:g} s: {screen[-2000:]!r}")
            if select.select([terminal], [], [], 0.01)[0]:
                screen += os.read(terminal, 65536).decode(errors="replace")
        wall = time.perf_counter() - began
        used = psutil.Process(pid).cpu_times()
    return wall, used.user + used.system


@contextmanager
def _in_terminal(url: str, width: int, height: int) -> Iterator[tuple[int, int]]:
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        program = "from service.cli import main; main()"
        os.execve(sys.executable, [sys.executable, "-c", program, "watch", "--url", url], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    try:
        yield pid, terminal
    finally:
        os.write(terminal, b"q")
        while _drained(terminal):
            pass
        os.waitpid(pid, 0)
        os.close(terminal)


def _drained(terminal: int) -> bool:
    try:
        return bool(os.read(terminal, 65536))
    except OSError:  # its last user has left
        return False


def _is_whole(screen: str) -> bool:
    """Whether curves, ranks and journal have been drawn."""
    return len(BRAILLE.findall(screen)) > 100 and "all-reduce" in screen and "Statistik_" in screen


def _print_starts(found: list[tuple[float, float]]) -> None:
    for what, seconds in zip(("wall", "processor"), zip(*found, strict=True), strict=True):
        least, most = 1000 * min(seconds), 1000 * max(seconds)
        print(f"first whole picture, {what}: {1000 * statistics.median(seconds):.0f} ms ({least:.0f}–{most:.0f})")  # noqa: T201


# The cost of a frame


async def _measure_frames(url: str, size: tuple[int, int]) -> None:
    def connect(kind: type[Client] = Client) -> Client:
        return kind(url)

    inbox = Inbox()
    feed = Feed(connect, inbox.put, size[0])
    feed.start()
    app = WatchApp(connect, inbox, feed)
    async with app.run_test(size=size) as pilot:
        while not app.view.is_complete:
            await pilot.pause(0.05)
        feed.close()
        whole = [_frame(app, from_nothing=True) for _ in range(FRAMES)]
        first = app.view.step
        changed = []
        for number in range(FRAMES):
            values = {"total_loss_value": 0.02 + 0.01 * (number % 2), "quality_ki_value": 0.7}
            data = {"step": 10_000_000 + first + number, "time": time.time(), "values": values}
            app.view.apply(EventSeen(LiveEvent("", "log", data), time.time()))
            changed.append(_frame(app, from_nothing=False))
    for what, seconds in (("everything anew", whole), ("after a log point", changed)):
        ordered = sorted(1000 * value for value in seconds)
        p99 = ordered[int(0.99 * (len(ordered) - 1))]
        print(f"a frame of {size[0]}x{size[1]}, {what}: {statistics.median(ordered):.1f} ms, p99 {p99:.1f} ms")  # noqa: T201


def _frame(app: WatchApp, *, from_nothing: bool) -> float:
    """Seconds of the clock from the view to the bytes for the terminal."""
    picture, compositor = app.query_one(Picture), app.screen._compositor
    began = time.perf_counter()
    picture.update(from_nothing=from_nothing)
    compositor.update_widgets({picture})
    update = compositor.render_update(full=from_nothing, screen_stack=app._background_screens)
    assert isinstance(update, CompositorUpdate)
    update.render_segments(app.console)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

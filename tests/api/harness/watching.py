"""`leitstand watch` in this process, at a screen of a given size, and what it shows."""

import asyncio
import difflib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from service.cli.watch.app import Picture, WatchApp
from service.cli.watch.feed import Feed, Inbox
from service.cli.watch.spans import text_of
from service.client import Client

SNAPSHOTS = Path(__file__).parent.parent / "behaviour" / "watch"
WAIT_SECONDS = 30.0
MOVING = (
    (r"since (\w{3} )?\d\d:\d\d \([^)]*\)", "since TIME (AGO)"),
    (r"finishes (\w{3} )?\d\d:\d\d, in [\dhmins .]*\d (min|s|h)", "finishes TIME, in TIME"),
    (r"data [\dhmins .]*(min|s) old", "data AGE old"),
    (r"\d\d:\d\d:\d\d", "HH:MM:SS"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"█+[▏▎▍▌▋▊▉]? +(?=\d+\.\d %)", "BAR "),
)
"""What differs from one run of a test to the next; in a line that holds any of it, the room between words does too."""


@dataclass
class Watcher:
    """A running view."""

    app: WatchApp
    pilot: Pilot[int]

    def shown(self) -> str:
        """The screen as text."""
        picture = self.app.query_one(Picture)
        picture.update()
        rows = picture.lines
        return "\n".join(text_of(row).rstrip() for row in rows)

    async def shows(self, *texts: str) -> None:
        """Wait until all texts are on the screen."""
        await self.until(lambda: all(text in self.shown() for text in texts), f"{texts} on the screen")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.shown()}"
            await self.pilot.pause(0.02)


def watch(
    url: str, script: Callable[[Watcher], Awaitable[None]], *, token: str | None = None,
    size: tuple[int, int] = (80, 24),
) -> WatchApp:  # fmt: skip
    """Let a script use the view of a server; returns the application after its end."""

    async def play() -> WatchApp:
        async with watching(url, token, size) as watcher:
            await script(watcher)
        return watcher.app

    return asyncio.run(play())


@asynccontextmanager
async def watching(url: str, token: str | None, size: tuple[int, int]) -> AsyncIterator[Watcher]:
    """A view for the time of the context."""

    def connect(kind: type[Client] = Client) -> Client:
        return kind(url, token, actor="eva", source="cli")

    inbox = Inbox()
    feed = Feed(connect, inbox.put)
    feed.start()
    app = WatchApp(connect, inbox, feed)
    async with app.run_test(size=size) as pilot:
        yield Watcher(app, pilot)


def steady(text: str) -> str:
    """A screen's text without what differs from one time to the next."""
    return "".join(f"{_steady_line(line)}\n" for line in text.split("\n"))


def _steady_line(line: str) -> str:
    changed = line
    for pattern, replacement in MOVING:
        changed = re.sub(pattern, replacement, changed)
    return line if len(changed) == len(line) and "HH" not in changed else re.sub(" +", " ", changed)


def assert_snapshot(name: str, text: str) -> None:
    """Compare a screen with the kept one; a file that is not there is written, and looked at before it is committed."""
    path = SNAPSHOTS / f"{name}.txt"
    if not path.exists():
        path.write_text(steady(text))
        raise AssertionError(f"{path} was not there and has been written: look at it")
    kept, found = path.read_text(), steady(text)
    difference = difflib.unified_diff(kept.splitlines(), found.splitlines(), "kept", "found", lineterm="", n=0)
    assert found == kept, "\n".join(difference)

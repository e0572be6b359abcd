"""The view as a program of the terminal, made with textual: it shows the picture and takes the keys."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from service.cli.watch.feed import Connect, Feed, Inbox
from service.cli.watch.picture import HELP, STOP_QUESTION, WATCH_ONLY_HELP, overlaid, picture
from service.cli.watch.spans import Line, Span
from service.cli.watch.steering import Reason, give
from service.cli.watch.updates import Trouble
from service.cli.watch.view import RunView
from service.errors import UserError

FRAME_SECONDS = 0.04
"""Updates that come within so long of each other are drawn together."""
CLOCK_SECONDS = 1.0
CTRL_C = 130
SIGNALS = (signal.SIGTERM, signal.SIGHUP)

GROUND = "#0e1217"
TEXT, MUTED, RULE, TRACK = "#e4e9ef", "#95a1af", "#3a4450", "#1d242d"
COLORS = {
    "text": TEXT, "muted": MUTED, "rule": RULE, "strong": TEXT, "title": "#4fc3b0", "key": "#4fc3b0",
    "ki": "#4fc3b0", "lr": "#dda45e", "loss": "#7eabec", "val": "#c596e6", "layer": "#7eabec",
    "good": "#55c08b", "warn": "#dda94a", "bad": "#f0776e", "accent": "#4fc3b0",
    "ki faint": "#2a655d", "lr faint": "#6d5334", "loss faint": "#37506f", "val faint": "#5e4a70",
}  # fmt: skip
BOLD = {"strong", "title", "key", "bad", "warn", "good"}
BADGES = ("good", "warn", "bad", "accent")

STYLES: Mapping[str, Style] = {
    **{tone: Style(color=color, bgcolor=GROUND, bold=tone in BOLD) for tone, color in COLORS.items()},
    "bar": Style(color=COLORS["loss"], bgcolor=TRACK),
    "bar progress": Style(color=COLORS["ki"], bgcolor=TRACK),
    **{f"badge {tone}": Style(color=GROUND, bgcolor=COLORS[tone], bold=True) for tone in BADGES},
}
"""The style of every tone."""


class Picture(Widget):
    """The picture of the view, of which only lines that have changed are drawn again."""

    DEFAULT_CSS = "Picture { width: 1fr; height: 1fr; }"

    def __init__(self, draw: Callable[[int, int], list[Line]]) -> None:
        super().__init__()
        self._draw = draw
        self.lines: list[Line] = []

    def update(self, *, from_nothing: bool = False) -> None:
        """Draw again what has changed, or everything."""
        width, height = self.size
        lines, before = self._draw(width, height), [] if from_nothing else self.lines
        self.lines = lines
        changed = [y for y, row in enumerate(lines) if y >= len(before) or row != before[y]]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def on_resize(self) -> None:
        """Draw everything for the new size."""
        self.update(from_nothing=True)

    def render_line(self, y: int) -> Strip:
        """Return one line for textual."""
        row = self.lines[y] if y < len(self.lines) else (Span(" " * self.size.width),)
        return Strip([Segment(span.text, STYLES[span.tone]) for span in row], self.size.width)


class Came(Message):
    """An update lies in the inbox."""


class WatchApp(App[int]):
    """The living view; `run` returns the exit code, and `failure` says why it could not begin."""

    ENABLE_COMMAND_PALETTE = False
    CSS = f"Screen {{ background: {GROUND}; }}"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", f"leave({CTRL_C})", priority=True, show=False)]

    def __init__(self, connect: Connect, inbox: Inbox, feed: Feed) -> None:
        """Show what `feed` puts into `inbox`; `connect` makes the clients of keys that act."""
        super().__init__()
        self.view = RunView()
        self.failure: UserError | None = None
        self._connect = connect
        self._inbox = inbox
        self._feed = feed
        self._picture = Picture(self.draw)
        self._dialog = ""
        self._reason = Reason()
        self._back = 0
        self._is_drawing_soon = False

    def compose(self) -> ComposeResult:
        """Return the only widget."""
        yield self._picture

    def on_mount(self) -> None:
        """Begin to listen to the feed and to the clock."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.exit, 128 + number)
        self._inbox.notify = lambda: self.post_message(Came())
        self.set_interval(CLOCK_SECONDS, self._picture.update)
        self.on_came()

    def on_unmount(self) -> None:
        """Stop listening."""
        self._inbox.notify = lambda: None
        self._feed.close()

    def draw(self, width: int, height: int) -> list[Line]:
        """Return the picture in this size, as it is now."""
        rows = picture(self.view, width, height, time.time(), self._back)
        if self._reason.is_open:
            return overlaid(rows, self._reason.lines(), "Why", width)
        if self._dialog == "stop":
            return overlaid(rows, STOP_QUESTION, "Stop", width)
        if self._dialog == "help":
            return overlaid(rows, HELP if self.view.may_act else WATCH_ONLY_HELP, "Keys", width)
        return rows

    def on_came(self) -> None:
        """Take in what has come, and draw it soon."""
        for update in self._inbox.drain():
            if isinstance(update, Trouble) and self._cannot_begin(update.error):
                self.failure = update.error
                self.exit(update.error.exit_code)
                return
            self.view.apply(update)
        if self.view.is_stale:
            self.view.is_stale = False
            self._feed.fetch_curves()
        if not self._is_drawing_soon:
            self._is_drawing_soon = True
            self.set_timer(FRAME_SECONDS, self._draw_now)

    def on_resize(self, event: events.Resize) -> None:
        """Ask for curves as fine as the screen."""
        self._feed.fetch_curves(event.size.width)

    def on_key(self, event: events.Key) -> None:
        """Carry out what a key means."""
        key = event.character or event.key
        event.stop()
        if self._reason.is_open:
            self._type(event)
        elif self._dialog == "stop":
            self._dialog = ""
            if key in {"y", "Y"}:
                self._give("s")
        elif self._dialog or key == "?":
            self._dialog = "" if self._dialog else "help"
        elif key in {"q", "Q"}:
            self.exit(0)
        elif event.key in {"up", "down", "pageup", "pagedown"}:
            self._scroll({"up": 1, "pageup": 10, "down": -1, "pagedown": -10}[event.key])
        elif key.lower() in {"v", "p", "c", "s", "w"} and self.view.takes_commands(time.time()):
            self._press(key.lower())
        self._picture.update()

    def on_paste(self, event: events.Paste) -> None:
        """Take a pasted text into the reason for a command."""
        if self._reason.is_open:
            event.stop()
            self._reason.type(event.text)
            self._picture.update()

    def action_leave(self, code: int) -> None:
        """Close the view with this exit code."""
        self.exit(code)

    def _press(self, key: str) -> None:
        if key == "s":
            self._dialog = "stop"
        elif key == "w":
            self._reason.open()
        else:
            self._give(key)

    def _type(self, event: events.Key) -> None:
        self._reason.press(event.key, event.character)
        if not self._reason.is_open:
            self.view.journal.note(time.time(), "key", self._reason.sentence, "muted")

    def _give(self, key: str) -> None:
        """Give a command on a thread of its own, because the API may be slow to answer."""
        why = self._reason.take()
        self.run_worker(lambda: self._report(give(self._connect, key, why)), thread=True, exit_on_error=False)

    def _report(self, sentence: str) -> None:
        self.call_from_thread(self._note, sentence)

    def _note(self, sentence: str) -> None:
        self.view.journal.note(time.time(), "key", sentence, "bad" if sentence.startswith("not accepted") else "accent")
        self._feed.poll_soon()
        self._picture.update()

    def _scroll(self, entries: int) -> None:
        self._back = max(0, min(len(self.view.journal) - 1, self._back + entries))

    def _cannot_begin(self, error: UserError) -> bool:
        """Return True for an error that repeating does not mend, before anything was ever shown."""
        has_begun = self.view.state is not None
        is_waiting = getattr(error, "is_transient", False) or getattr(error, "slug", "") == "no-run"
        return not has_begun and not is_waiting

    def _draw_now(self) -> None:
        self._is_drawing_soon = False
        self._picture.update()

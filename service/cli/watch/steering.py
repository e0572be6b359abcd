"""The keys that act: the same meaning as in `leitstand up`, but given through the API, with a person's reason."""

from collections.abc import Sequence
from itertools import islice

from service.cli.watch.feed import Connect
from service.cli.watch.spans import line, pad, width_of
from service.commands import KEYS, WHY_LENGTH, CommandState, Kind, pause_or_resume
from service.errors import UserError

STOP_KEY = "s"
MAX_QUEUED = 100
"""How many queued commands are looked at to tell whether `p` pauses or resumes."""
REASON_COLUMNS = 48


class Reason:
    """A text that is typed while the box is open, and goes with one command."""

    def __init__(self) -> None:
        """Begin without a reason, and with the box closed."""
        self.is_open = False
        self._text = ""

    def open(self) -> None:
        """Open the box with the reason that was kept, if there is one."""
        self.is_open = True

    def press(self, key: str, character: str | None) -> None:
        """Take in a key: a character, `backspace`, `enter`, which keeps the text, or `escape`, which drops it."""
        if key in {"enter", "escape"}:
            self.is_open = False
            self._text = self._text.strip() if key == "enter" else ""
        elif key == "backspace":
            self._text = self._text[:-1]
        elif character is not None and character.isprintable():
            self.type(character)

    def type(self, text: str) -> None:
        """Append what can be printed of a text, as it comes from a paste; what is too long is left out."""
        self._text = (self._text + "".join(filter(str.isprintable, text)))[:WHY_LENGTH]

    def take(self) -> str | None:
        """Return the reason for the command that is given now, None if there is none; the next one has none."""
        text, self._text = self._text, ""
        return text or None

    @property
    def sentence(self) -> str:
        """Return what becomes of the text, for the journal."""
        return f"with the next command: {self._text}" if self._text else "no reason goes with the next command"

    def lines(self) -> Sequence[tuple[str, str]]:
        """Return the lines of the box as (key, meaning): the end of the text, and the keys."""
        shown = self._text
        while width_of(line(shown)) > REASON_COLUMNS - 1:
            shown = shown[1:]
        return (
            (" ", pad(f"{shown}▏", REASON_COLUMNS)),
            ("⏎", "keep it for the next command"),
            ("esc", "no reason"),
        )


def give(connect: Connect, key: str, why: str | None = None) -> str:
    """Give the command of a key, with the person's reason; returns a sentence: its acceptance, or the refusal."""
    try:
        with connect() as client:
            kind = Kind.STOP if key == STOP_KEY else KEYS.get(key)
            if kind is None:
                queued = islice(client.commands(state=CommandState.QUEUED, page_size=MAX_QUEUED), MAX_QUEUED)
                is_paused = client.state()["training_paused"]
                kind = pause_or_resume([(entry["kind"], entry["apply_at_step"]) for entry in queued], is_paused)
            client.submit(kind, why=why)
    except UserError as error:
        return f"not accepted: {error}"
    return f"{kind} asked for"

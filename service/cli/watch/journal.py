"""What happened to the run, newest last: commands, records, alerts, changes of state, and everything else."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.api_types import AlertEntry, CommandAnswer, RecordEntry
from service.cli.events import sentence
from service.cli.text_table import number
from service.client.sse import LiveEvent
from service.commands import CommandState, outcome_sentence

MAX_ENTRIES = 500

_TONES = {
    "slow rank": "warn", "not finite": "warn", "stalled": "warn", "checkpoint failed": "bad", "skipped": "warn",
    "rollback": "warn", "left out": "warn", "hang ended": "bad", "alert undelivered": "bad",
}  # fmt: skip
_COMMAND_TONES = {CommandState.DONE: "good", CommandState.FAILED: "bad", CommandState.REJECTED: "bad"}


@dataclass(frozen=True)
class Entry:
    """One line of the journal; `time` is in Unix seconds."""

    time: float
    kind: str
    text: str
    tone: str = "text"


class Journal:
    """The newest entries; the same event is entered once, also if both a list and the stream bring it."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._known: set[tuple[str, str]] = set()
        self._alerts: set[str] = set()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything: another run is shown."""
        self._entries.clear()
        self._known.clear()
        self._alerts.clear()

    def take(self) -> list[Entry]:
        """Return the entries and remove them; they are still known."""
        taken = list(self._entries)
        self._entries.clear()
        return taken

    def note(self, at: float, kind: str, text: str, tone: str = "text") -> None:
        """Enter a text."""
        self._entries.append(Entry(at, kind, text, tone))

    def fill(self, commands: Iterable[CommandAnswer], records: Iterable[RecordEntry]) -> None:
        """Enter what had happened before the view began, in the order of its time."""
        entries = [_command_entry(command, _time_of(command)) for command in commands if self._is_new(_key(command))]
        entries += [_listed_record(record) for record in records if self._is_new(("record", record["name"]))]
        before = sorted([*self._entries, *entries], key=lambda entry: entry.time)
        self._entries.clear()
        self._entries.extend(before)

    def note_alerts(self, alerts: Sequence[AlertEntry], at: float) -> None:
        """Enter the alerts that have turned on or off without an event: before the view began, or without a stream."""
        for alert in alerts:
            if alert["name"] not in self._alerts:
                self.note(alert["since"], "alert", f"{alert['name']} is on: {alert['sentence']}", "bad")
        names = {alert["name"] for alert in alerts}
        for name in sorted(self._alerts - names):
            self.note(at, "alert", f"{name} is over", "good")
        self._alerts = names

    def add(self, event: LiveEvent, at: float) -> None:
        """Enter an event of the stream."""
        at = event.data.get("time", at)
        if event.kind == "command":
            if self._is_new(_key(event.data)):
                self._entries.append(_command_entry(event.data, at))
        elif event.kind == "record":
            if self._is_new(("record", str(event.data.get("name")))):
                self.note(at, "record", sentence(event), "ki")
        elif event.kind == "event":
            kind = str(event.data.get("kind"))
            self.note(at, kind, sentence(event), _TONES.get(kind, "text"))
        elif event.kind == "alert":
            self._add_alert(event, at)
        else:
            self.note(at, event.kind, sentence(event), "muted")

    def _add_alert(self, event: LiveEvent, at: float) -> None:
        name, is_on = str(event.data.get("name")), bool(event.data.get("is_on"))
        if is_on is not (name in self._alerts):
            self.note(at, "alert", sentence(event), "bad" if is_on else "good")
        self._alerts = self._alerts | {name} if is_on else self._alerts - {name}

    def _is_new(self, key: tuple[str, str]) -> bool:
        is_new = key not in self._known
        self._known.add(key)
        return is_new


def _key(command: Mapping[str, Any]) -> tuple[str, str]:
    return str(command.get("id")), str(command.get("state"))


def _time_of(command: CommandAnswer) -> float:
    return command["finished_at"] or command["started_at"] or command["created_at"]


def _command_entry(command: Mapping[str, Any], at: float) -> Entry:
    text = outcome_sentence(
        command["kind"], command["state"], command.get("step"), command.get("result"), command.get("reason"),
        command.get("why"),
    )  # fmt: skip
    is_asked = command["state"] == CommandState.QUEUED
    by = f", asked for by {command.get('actor')}" if is_asked else ""
    return Entry(at, "command", text + by, _COMMAND_TONES.get(command["state"], "muted" if is_asked else "text"))


def _listed_record(record: RecordEntry) -> Entry:
    quality = f"quality KI {number(record['quality_ki_value'])}, LR {number(record['quality_lr_value'])}"
    return Entry(record["modified_at"], "record", f"{record['name']}: {quality}", "ki")

"""What the feed tells the view: answers of the API, events, and what went wrong. Times are Unix seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.api_types import AlertEntry, CommandAnswer, Envelope, RankEntry, RecordEntry
from service.client.sse import LiveEvent
from service.errors import UserError


@dataclass(frozen=True)
class StateSeen:
    """The answer of `/state`, or a `state` event."""

    state: Mapping[str, Any]
    at: float


@dataclass(frozen=True)
class RanksSeen:
    """What every rank does."""

    ranks: Sequence[RankEntry]
    at: float


@dataclass(frozen=True)
class AlertsSeen:
    """The alerts that are on."""

    alerts: Sequence[AlertEntry]
    at: float


@dataclass(frozen=True)
class HistorySeen:
    """The newest commands and records, which were there before the view."""

    commands: Sequence[CommandAnswer]
    records: Sequence[RecordEntry]


@dataclass(frozen=True)
class CurvesSeen:
    """The history of the values that are drawn."""

    envelope: Envelope


@dataclass(frozen=True)
class EventSeen:
    """One event of the stream, other than a state."""

    event: LiveEvent
    at: float


@dataclass(frozen=True)
class StreamSeen:
    """Whether events are delivered as they happen."""

    is_open: bool


@dataclass(frozen=True)
class RightsSeen:
    """Whether the token may give commands."""

    may_act: bool


@dataclass(frozen=True)
class Trouble:
    """A request that failed."""

    error: UserError


Update = StateSeen | RanksSeen | AlertsSeen | HistorySeen | CurvesSeen | EventSeen | StreamSeen | RightsSeen | Trouble

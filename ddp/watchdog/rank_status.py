"""What every rank last said of itself, as rank 0 keeps it: posts read from the board, and how long ago they changed.

Silence is added up on rank 0's own clock, from one reading to the next: clocks of several machines need not agree.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ddp.watchdog.stages import Stage

LONGEST_GAP_SECONDS = 3.0
"""Between two readings no rank is silent for longer: the time in which rank 0 itself was frozen is not theirs."""


@dataclass(frozen=True)
class RankReport:
    """What one rank says. `number` counts its posts: the text of a rank that lives always changes."""

    number: int
    host: str
    pid: int
    device: str
    stage: Stage
    step: int | None
    stage_seconds: float
    stack: str
    stack_seconds: float

    def encode(self) -> str:
        """The text for the board."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> "RankReport":
        """The post of a text from the board."""
        values = json.loads(text)
        return cls(**{**values, "stage": Stage(values["stage"])})


@dataclass(frozen=True)
class RankStatus:
    """One rank as rank 0 sees it. `stage_seconds` is as of its last post, `silent_seconds` counts since then.

    A rank that was never heard of is `starting` since rank 0 began to listen, and has no host, pid or device.
    """

    rank: int
    host: str | None
    pid: int | None
    device: str | None
    stage: Stage
    step: int | None
    stage_seconds: float
    silent_seconds: float
    stack: str | None
    stacked_seconds: float | None  # ago


@dataclass
class _Entry:
    text: str | None = None
    silent_seconds: float = 0.0


class RankStatusTable:
    """The entries of all ranks, by rank."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._noted_at = time.monotonic()

    def update(self, texts: Sequence[str | None]) -> None:
        """Take what the board holds now."""
        now = time.monotonic()
        gap_seconds = min(now - self._noted_at, LONGEST_GAP_SECONDS)
        self._noted_at = now
        self._entries = self._entries or [_Entry() for _ in texts]
        for entry, text in zip(self._entries, texts, strict=True):
            entry.silent_seconds = entry.silent_seconds + gap_seconds if text == entry.text else 0.0
            entry.text = text

    def statuses(self) -> list[RankStatus]:
        """Every rank's status, by rank."""
        return [_status(rank, entry) for rank, entry in enumerate(self._entries)]


def _status(rank: int, entry: _Entry) -> RankStatus:
    silent_seconds = entry.silent_seconds
    if entry.text is None:
        return RankStatus(rank, None, None, None, Stage.STARTING, None, silent_seconds, silent_seconds, None, None)
    post = RankReport.decode(entry.text)
    return RankStatus(
        rank=rank,
        host=post.host,
        pid=post.pid,
        device=post.device,
        stage=post.stage,
        step=post.step,
        stage_seconds=post.stage_seconds,
        silent_seconds=silent_seconds,
        stack=post.stack or None,
        stacked_seconds=post.stack_seconds + silent_seconds if post.stack else None,
    )

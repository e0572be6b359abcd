"""Status of every rank on rank 0: the last reports from the status store, and the time since they changed.

Silence is accumulated with rank 0's clock between reads, so the clocks of several machines need not agree. Time in
which any rank was stopped is no part of a rank's stage: it was stopped itself, or it may have waited for that one.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ddp.watchdog.stages import Stage
from service.run.active_time import Spans

MAX_GAP_SECONDS = 3.0
"""Maximum silence added per read, so that time in which rank 0 itself was frozen does not count."""


@dataclass(frozen=True)
class RankReport:
    """Report of one rank. `number` counts its reports, so that the text of a live rank always changes.

    `stage_seconds` includes the time in which the rank was stopped; `stopped_seconds` is all of that since its start.
    """

    number: int
    host: str
    pid: int
    device: str
    stage: Stage
    step: int | None
    stage_seconds: float
    stopped_seconds: float
    stack: str
    stack_seconds: float

    def encode(self) -> str:
        """Return the text for the status store."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> "RankReport":
        """Return the report encoded in a text of the status store."""
        values = json.loads(text)
        return cls(**{**values, "stage": Stage(values["stage"])})


@dataclass(frozen=True)
class RankStatus:
    """Status of one rank. `stage_seconds` is from its last report, `silent_seconds` is the time since then.

    `stage_seconds` is without the time in which a rank was stopped. `stack_age_seconds` is the age of `stack`. A rank
    without a report is `starting`, without host, pid and device.
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
    stack_age_seconds: float | None


@dataclass
class _Entry:
    report: RankReport | None = None
    silent_seconds: float = 0.0


class RankStatusTable:
    """Last reports of all ranks, by rank."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._stops = Spans()
        self._updated_at = time.monotonic()

    def update(self, texts: Sequence[str | None]) -> None:
        """Update with the texts that the status store holds now, by rank."""
        now = time.monotonic()
        gap_seconds = min(now - self._updated_at, MAX_GAP_SECONDS)
        self._updated_at = now
        self._entries = self._entries or [_Entry() for _ in texts]
        for entry, text in zip(self._entries, texts, strict=True):
            report = None if text is None else RankReport.decode(text)
            entry.silent_seconds = entry.silent_seconds + gap_seconds if report == entry.report else 0.0
            self._note_stop(entry.report, report, now)
            entry.report = report

    def _note_stop(self, last: RankReport | None, report: RankReport | None, now: float) -> None:
        """Note that a rank was stopped between two of its reports."""
        if report is not None:
            seconds = report.stopped_seconds - (0.0 if last is None else last.stopped_seconds)
            if seconds > 0:
                self._stops.add(now - seconds, now)

    def statuses(self) -> list[RankStatus]:
        """Return every rank's status, by rank."""
        return [self._status(rank, entry) for rank, entry in enumerate(self._entries)]

    def _status(self, rank: int, entry: _Entry) -> RankStatus:
        report, silent_seconds = entry.report, entry.silent_seconds
        if report is None:
            return RankStatus(rank, None, None, None, Stage.STARTING, None, silent_seconds, silent_seconds, None, None)
        entered_at = self._updated_at - silent_seconds - report.stage_seconds
        return RankStatus(
            rank=rank,
            host=report.host,
            pid=report.pid,
            device=report.device,
            stage=report.stage,
            step=report.step,
            stage_seconds=max(0.0, report.stage_seconds - self._stops.seconds_since(entered_at)),
            silent_seconds=silent_seconds,
            stack=report.stack or None,
            stack_age_seconds=report.stack_seconds + silent_seconds if report.stack else None,
        )

"""Status of every rank on rank 0: the last reports from the status store, and the time since they changed.

Silence is accumulated with the reader's clock between reads, so the clocks of several machines need not agree. One read
adds little to it: a reader that does not run itself, on a machine that is overloaded or frozen as a whole, calls
nobody silent. Time in which any rank was stopped is no part of a rank's stage: it was stopped itself, or it may have
waited for that one.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ddp.watchdog.durations import DurationHistogram
from ddp.watchdog.stages import Stage
from service.config.timeouts import NAMED_WITHIN_SECONDS, NAMING_DELAY_SECONDS, learnt_limit_seconds
from service.run.active_time import Spans

MAX_GAP_SECONDS = 3.0
"""Maximum silence added per read, so that time in which the reader itself was frozen does not count."""
GAP_FACTOR = 3.0
"""A rank is frozen, cut off or gone after so many times the 99th percentile of the time between its reports."""


@dataclass(frozen=True)
class RankReport:
    """Report of one rank. `number` counts its reports, so that the text of a live rank always changes.

    `stage_seconds` includes the time in which the rank was stopped; `stopped_seconds` is all of that since its start.
    `p99_seconds` is the 99th percentile of the stage's durations, None where it is not known; `is_settled` says whether
    the rank has made enough steps for its stages to be known.
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
    p99_seconds: float | None = None
    is_settled: bool = False

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
    without a report is `starting`, without host, pid and device. The limits are those learnt, None where they are not:
    for how long the stage may last, and how long the rank may be silent (s).
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
    stage_limit_seconds: float | None = None
    silence_limit_seconds: float | None = None


@dataclass
class _Entry:
    report: RankReport | None = None
    silent_seconds: float = 0.0
    gaps: DurationHistogram = field(default_factory=DurationHistogram)
    """Times between two reports, without those in which the rank was stopped."""

    def silence_limit_seconds(self) -> float | None:
        """Return after how many seconds of silence the rank is frozen, cut off or gone; None where it is not known."""
        gap_seconds = self.gaps.p99()
        if self.report is None or not self.report.is_settled or gap_seconds is None:
            return None
        return max(NAMED_WITHIN_SECONDS - NAMING_DELAY_SECONDS, GAP_FACTOR * gap_seconds)


class RankStatusTable:
    """Last reports of all ranks, by rank."""

    def __init__(self, max_gap_seconds: float = MAX_GAP_SECONDS) -> None:
        """At most `max_gap_seconds` of silence are added per read."""
        self._max_gap_seconds = max_gap_seconds
        self._entries: list[_Entry] = []
        self._stops = Spans()
        self._updated_at = time.monotonic()

    def update(self, texts: Sequence[str | None]) -> None:
        """Update with the texts that the status store holds now, by rank."""
        now = time.monotonic()
        gap_seconds = min(now - self._updated_at, self._max_gap_seconds)
        self._updated_at = now
        self._entries = self._entries or [_Entry() for _ in texts]
        for entry, text in zip(self._entries, texts, strict=True):
            report = None if text is None else RankReport.decode(text)
            silent_seconds = entry.silent_seconds + gap_seconds
            entry.silent_seconds = silent_seconds if report == entry.report else 0.0
            was_stopped = self._note_stop(entry.report, report, now)
            if report is not None and report != entry.report and not was_stopped:
                entry.gaps.add(silent_seconds)
            entry.report = report

    def _note_stop(self, last: RankReport | None, report: RankReport | None, now: float) -> bool:
        """Note that a rank was stopped between two of its reports; return whether it was."""
        if report is None:
            return False
        seconds = report.stopped_seconds - (0.0 if last is None else last.stopped_seconds)
        if seconds > 0:
            self._stops.add(now - seconds, now)
        return seconds > 0

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
            stage_limit_seconds=None if report.p99_seconds is None else learnt_limit_seconds(report.p99_seconds),
            silence_limit_seconds=entry.silence_limit_seconds(),
        )

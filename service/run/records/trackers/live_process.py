"""The process that gives one tracker what a training tells, so that the tracker's library is in no rank.

    python -m service.run.records.trackers.live_process NAME EXPERIMENT END_SECONDS

It reads `LiveMessage`s, a line of JSON each, from its standard input until that ends, and answers there what it has
taken and what is wrong. Whatever the library does, the training feels at most that its messages are not taken: what
fails is tried again, and what hangs is killed by a timer or by the training at its end. Signals are ignored, for the
training ends this process.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NotRequired, TextIO, TypedDict

from service.errors import UserError, plain_reason
from service.run.records.trackers.catalog import TITLES, open_tracker
from service.run.records.trackers.tracked_run import LibraryMissingError, TrackedPoint, TrackedRun, Tracker

POINT, BACK, END = "point", "back", "end"
LIBRARY_MISSING = 3
"""Exit code: there is no use in another attempt."""
MAX_BATCH = 50
"""Most points that are given at once, and that wait in this process."""
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 2.0, 300.0
LAST_RETRY_SECONDS = 0.5
SHORTEST_SECONDS = 0.001  # 0 would switch the timer off
CHECK_SECONDS = 1.0
LOST, STOPPED = "lost", "stopped"
"""States of a run whose trainer ended without a word, and of a branch that a rollback has left."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class LiveMessage(TypedDict):
    """What a training tells: `kind` POINT (numbers at a step), BACK (a rollback to `step`) or END (with its state).

    `run` is what is told once of a run, with the first message and with the first after a rollback.
    """

    kind: str
    step: NotRequired[int]
    at: NotRequired[float]
    scalars: NotRequired[dict[str, float]]
    run: NotRequired[dict[str, Any]]
    text: NotRequired[str]
    state: NotRequired[str]


class Answer(TypedDict, total=False):
    """What this process says: points taken since the last answer, or a sentence for the log, and whether it is bad."""

    taken: int
    text: str
    is_problem: bool


class Inbox:
    """Messages read by a thread, a few ahead; reading waits for them to be taken."""

    def __init__(self, stream: TextIO, end_seconds: float) -> None:
        """Read a stream; after its end a timer ends this process, whatever it does then."""
        self._stream = stream
        self._end_seconds = end_seconds
        self._parent = os.getppid()
        self._messages: queue.Queue[LiveMessage | None] = queue.Queue(MAX_BATCH)
        self.is_over = threading.Event()
        """Set once the training tells nothing more."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def batches(self) -> Iterator[list[LiveMessage]]:
        """Yield what there is, as soon as there is something, until the end."""
        while True:
            batch = [self._messages.get()]
            while len(batch) < MAX_BATCH and not self._messages.empty():
                batch.append(self._messages.get())
            yield [message for message in batch if message is not None]
            if None in batch:
                return

    def _read(self) -> None:
        try:
            for line in self._stream:
                message: LiveMessage = json.loads(line)
                if message["kind"] == END:
                    self._end()
                self._put(message)
        finally:
            self._end()
            self._put(None)

    def _put(self, message: LiveMessage | None) -> None:
        """Wait until there is room, and notice meanwhile that the training is gone: its end cannot be read then."""
        while True:
            try:
                self._messages.put(message, timeout=CHECK_SECONDS)
            except queue.Full:
                if os.getppid() != self._parent:
                    self._end()
            else:
                return

    def _end(self) -> None:
        """Let the process end soon, even if nobody takes anything any more."""
        if not self.is_over.is_set():
            signal.setitimer(signal.ITIMER_REAL, max(self._end_seconds, SHORTEST_SECONDS))
        self.is_over.set()


class LiveTracker:
    """Gives messages to a tracker, which is opened with the first, and tries again what fails."""

    def __init__(self, name: str, experiment: str, inbox: Inbox, answers: TextIO) -> None:
        self._name, self._experiment, self._inbox, self._answers = name, experiment, inbox, answers
        self._tracker: Tracker | None = None
        self._run: TrackedRun | None = None
        self._has_begun = False
        self._newest = -1
        self._failed = False

    def follow(self) -> None:
        """Take all messages. Raises `LibraryMissingError`."""
        for batch in self._inbox.batches():
            points: list[LiveMessage] = []
            for message in batch:
                if message["kind"] == POINT and "run" not in message:
                    points.append(message)
                    continue
                self._give(points)
                points = [message] if message["kind"] == POINT else []
                self._take(message)
            self._give(points)
        self._end(LOST)

    def _take(self, message: LiveMessage) -> None:
        if "run" in message:
            self._end("")
            self._run = TrackedRun(**message["run"])
        else:
            self._end(message.get("state", STOPPED))

    def _give(self, points: list[LiveMessage]) -> None:
        if points:
            given = [TrackedPoint(point["step"], point["at"], point["scalars"]) for point in points]
            self._attempt(lambda: self._opened().add(given))
            self._newest = given[-1].step
            self._answer({"taken": len(points)})

    def _opened(self) -> Tracker:
        """Open the tracker and begin the run, unless that is done."""
        assert self._run is not None, "the first message tells of the run"
        if self._tracker is None:
            self._tracker = open_tracker(self._name, None, self._experiment)
        if not self._has_begun:
            self._tracker.begin(self._run)
            self._has_begun = True
        return self._tracker

    def _end(self, state: str) -> None:
        """End the present run, if it has begun."""
        if self._has_begun and self._tracker is not None:
            tracker, self._has_begun = self._tracker, False
            place: list[str] = []
            self._attempt(lambda: place.append(tracker.end(state)))
            self._answer({"text": f"What {TITLES[self._name]} was told is in {place[0]}."})

    def _attempt(self, give: Any) -> None:
        """Do it, as often as it takes; what is wrong is said once. The timer ends the last attempt."""
        seconds = FIRST_RETRY_SECONDS
        while True:
            try:
                give()
            except LibraryMissingError:
                raise
            except Exception as error:  # noqa: BLE001 - of an unknown library; this process begins here, and tells it
                self._say_once(error)
                seconds = self._wait(seconds)
            else:
                break
        if self._failed:
            self._failed = False
            self._answer({"text": f"{TITLES[self._name]} takes again what it is told."})

    def _wait(self, seconds: float) -> float:
        """Wait before another attempt, shortly at the end; returns how long to wait before the next."""
        if self._inbox.is_over.wait(seconds):
            time.sleep(LAST_RETRY_SECONDS)
        return min(2 * seconds, MAX_RETRY_SECONDS)

    def _say_once(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {plain_reason(error)}"
        if not self._failed:
            text = (
                f"{TITLES[self._name]} does not take what it is told ({reason}); training goes on, it is tried again."
            )
            self._answer({"text": text, "is_problem": True})
        self._failed = True

    def _answer(self, answer: Answer) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def main(name: str, experiment: str, end_seconds: float) -> int:
    """Follow a training to its end, which may take `end_seconds`; return the exit code."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    answers = _own_output()
    try:
        LiveTracker(name, experiment, Inbox(sys.stdin, end_seconds), answers).follow()
    except LibraryMissingError as error:
        answers.write(json.dumps({"text": f"{error} Training goes on without it.", "is_problem": True}) + "\n")
        return LIBRARY_MISSING
    except BrokenPipeError:  # the training is gone, and nobody reads
        return 1
    return 0


def _own_output() -> TextIO:
    """Return what was standard output, which no library shall write to, nor its own processes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return answers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))

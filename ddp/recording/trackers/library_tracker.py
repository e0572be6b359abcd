"""An experiment tracker by its own library, in a process of its own: no rank imports it or waits for it.

A thread of rank 0 hands over what happened through a pipe. A library that is missing, fails, hangs, fills its disk or
crashes holds nothing up: its process tries again, a queue here is bounded and drops what comes when it is full, and the
end of the training waits for a limited time, then kills the process.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

import service
from ddp.distributed.environment import without_rank
from ddp.recording.trackers.base import Tracker
from ddp.validation.result import Preview
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.run.records.tables.tags import training_scalars, validation_scalars
from service.run.records.trackers.catalog import TITLES
from service.run.records.trackers.live_process import BACK, END, LIBRARY_MISSING, POINT, Answer, LiveMessage
from service.run.records.trackers.tracked_run import TOLD, TrackedRun

MODULE = "service.run.records.trackers.live_process"
MAX_WAITING = 1_000
"""Log points and validations that wait to be handed over."""
POLL_SECONDS = 0.5
RESTART_SECONDS = 60.0
"""After the end of a process that should not have ended."""
MARGIN_SECONDS = 2.0
"""Beyond the time after which the process ends by itself."""

logger = logging.getLogger(__name__)


class TrackerProcess:
    """The process of one tracker: lines in, answers out. Its methods are for one thread, but for `kill`."""

    def __init__(self, name: str, experiment: str, end_seconds: float, on_answer: Callable[[Answer], None]) -> None:
        """Start it; it takes at most `end_seconds` for its end. Raises `OSError`."""
        places = [str(Path(service.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = without_rank(os.environ)  # a library must not take its process for a rank
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, name, experiment, str(end_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, places)), "CUDA_VISIBLE_DEVICES": ""},
            process_group=0,  # a key that interrupts the training must not interrupt what it tells at its end
        )
        self._on_answer = on_answer
        self._reader = threading.Thread(target=self._read, name="tracker answers", daemon=True)
        self._reader.start()

    def send(self, message: LiveMessage) -> None:
        """Write a message; waits as long as nothing is taken. Raises `OSError` once the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def wait(self, seconds: float) -> int:
        """Let it end, kill it after `seconds`; return its exit code once all its answers are read."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        code = self._process.wait()
        self._reader.join(POLL_SECONDS)
        return code

    def kill(self) -> None:
        """Kill it and the processes that its library has started in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                with suppress(ValueError):  # cut off by its end
                    self._on_answer(json.loads(line))


class LibraryTracker(Tracker):
    """Tracker that tells the process of a library what happens."""

    def __init__(self, name: str, experiment: str, run: TrackedRun, end_seconds: float) -> None:
        """Track `run` under a name of the catalog; branch, facts and rollbacks follow from what happens.

        The end of the training waits at most `end_seconds` for the library.
        """
        self._name, self._experiment = name, experiment
        self._run, self._end_seconds = run, end_seconds
        self._title = TITLES[name]
        self._queue: deque[Callable[[], LiveMessage]] = deque()  # without a lock: one thread appends, another removes
        self._overflow, self._sent, self._taken = 0, 0, 0
        self._state = ""
        self._full = OngoingProblem()
        # Used by the tracker's thread, and at the end by the training thread
        self._process: TrackerProcess | None = None
        self._start_at = 0.0
        self._is_given_up = False
        self._from_step, self._newest = 0, 0
        self._rollbacks: list[str] = []
        self._must_tell_run = True
        self._thread = BackgroundThread(
            "tracker",
            self._hand_over,
            interval_seconds=POLL_SECONDS,
            boundary=ErrorBoundary(logger, once=True),
            error_message=f"What {self._title} is told could not be made; training goes on.",
            at_end=self._hand_over_rest,
        )

    @property
    def dropped(self) -> int:  # type: ignore[override]  # counted as it goes
        """Log points and validations that the library never gets."""
        return self._overflow

    @override
    def start(self, step: int) -> None:
        """Start the thread; it starts the process."""
        self._from_step = self._newest = step
        self._thread.start()

    @override
    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """Queue the training values of a step; `at` is Unix seconds."""
        self._add(lambda: self._point(step, at, dict(training_scalars(snapshot)), snapshot))

    @override
    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Sequence[Preview]) -> None:
        """Queue the values of a validation; pictures stay in the run directory."""
        self._add(lambda: self._point(step, at, dict(validation_scalars(record)), record))

    @override
    def resume_from(self, step: int) -> None:
        """Queue that the run was rolled back to `step`: what follows is another branch."""
        self._queue.append(lambda: {"kind": BACK, "step": step})  # never dropped

    @override
    def set_state(self, state: str) -> None:
        """Note the state of the run, which is told at the end."""
        self._state = state

    def close(self) -> None:
        """Hand over everything queued and the end; give up after the time that the library has for its end."""
        self._thread.close(self._end_seconds + 2 * MARGIN_SECONDS)
        if (process := self._process) is not None:  # hangs: the thread waits for it
            process.kill()
            self._thread.close(POLL_SECONDS)
        lost = len(self._queue) + self._sent - self._taken
        self._overflow += lost
        if lost and not self._is_given_up:
            logger.error(
                "%d log points and validations for %s are lost: it did not take them. `leitstand stats push` gives it "
                "the records.", lost, self._title,
            )  # fmt: skip

    def _add(self, build: Callable[[], LiveMessage]) -> None:
        if len(self._queue) < MAX_WAITING and not self._is_given_up:
            if not self._queue:
                self._full.end()
            self._queue.append(build)
        else:
            self._overflow += 1
            if self._full.begin() and not self._is_given_up:
                logger.warning("%s takes nothing: log points for it are dropped; training goes on.", self._title)

    # On the tracker's thread

    def _point(self, step: int, at: float, scalars: dict[str, float], values: Mapping[str, Any]) -> LiveMessage:
        message: LiveMessage = {"kind": POINT, "step": step, "at": at, "scalars": scalars}
        if self._must_tell_run:
            run = replace(
                self._run, branch=values.get("branch_id") or 0, rollbacks=tuple(self._rollbacks),
                facts={key: str(values[key]) for key in TOLD if values.get(key) is not None},
                from_step=self._from_step,
            )  # fmt: skip
            message["run"] = asdict(run)
        return message

    def _hand_over(self) -> None:
        """Send everything queued, to a process that is started if there is none."""
        while self._queue and not self._is_given_up:
            process = self._running()
            if process is None:
                return
            message = self._queue[0]()
            try:
                process.send(message)
            except OSError:
                self._note_end(process.wait(POLL_SECONDS))
                return
            self._queue.popleft()
            self._note_sent(message)

    def _note_sent(self, message: LiveMessage) -> None:
        if message["kind"] == POINT:
            self._sent += 1
            self._newest, self._must_tell_run = message["step"], False
        else:
            self._rollbacks.append(f"from step {self._newest} to step {message['step']}")
            self._from_step, self._must_tell_run = message["step"], True

    def _running(self) -> TrackerProcess | None:
        """Return the process, started if it is time for that."""
        if self._process is None and time.monotonic() >= self._start_at:
            try:
                self._process = TrackerProcess(self._name, self._experiment, self._end_seconds, self._take_answer)
            except OSError as error:
                self._start_at = time.monotonic() + RESTART_SECONDS
                logger.warning("The process for %s cannot be started (%s); it is tried again.", self._title, error)
        return self._process

    def _note_end(self, code: int) -> None:
        """Take note of a process that has ended before the training."""
        self._process = None
        self._overflow += self._sent - self._taken
        self._sent = self._taken
        self._from_step, self._must_tell_run = self._newest, True
        if code == LIBRARY_MISSING:  # it has said so
            self._is_given_up = True
            self._overflow += len(self._queue)
            self._queue.clear()
        elif not self._thread.is_closing:  # at the end, what is lost is said
            self._start_at = time.monotonic() + RESTART_SECONDS
            logger.warning(
                "The process for %s has ended (exit code %d); training goes on, and it is started again after %g s.",
                self._title, code, RESTART_SECONDS,
            )  # fmt: skip

    def _hand_over_rest(self) -> None:
        self._start_at = 0.0
        self._hand_over()
        if (process := self._process) is not None:
            with suppress(OSError):
                process.send({"kind": END, "state": self._state})
            process.wait(self._end_seconds + MARGIN_SECONDS)
            self._process = None

    # On the thread that reads answers

    def _take_answer(self, answer: Answer) -> None:
        self._taken += answer.get("taken", 0)
        if "text" in answer:
            (logger.warning if answer.get("is_problem") else logger.info)("%s", answer["text"])

"""What had happened before the launcher started all ranks again, told in one event once they train again.

The launcher says in a variable which rank failed, how, and when it noticed; plain torchrun says nothing.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ddp.checkpoint.folder import checkpoint_name
from ddp.distributed.world import World
from service.launcher.ranks.shared_states import INCIDENT

KIND = "recovered"
"""Kind of the event."""

logger = logging.getLogger(__name__)


class Incident:
    """The failure before this start, if there was one. Every rank has it, only rank 0 tells it."""

    def __init__(self, world: World) -> None:
        self._restarts = world.restarts
        self._is_open = world.restarts > 0
        self._is_main = world.is_main
        self._failure: dict[str, Any] = failure_in(os.environ) if self._is_open else {}
        self._step = 0
        self._source: str | None = None
        self._reached_step: int | None = None
        self._report: Callable[[str, Mapping[str, Any]], None] = lambda *_: None
        self._on_step: Callable[[], None] = lambda: None

    def about_start(self) -> dict[str, Any]:
        """Return how often the launcher has started all ranks again, and what it says of the last failure.

        Rank 0 records both with the start.
        """
        return {"restarts": self._restarts, "failure": dict(self._failure) or None}

    def resumed_from(self, step: int, survivor: Mapping[str, Any] | None) -> None:
        """Note with which state this start begins: what `survivor` says of itself, or the newest checkpoint."""
        self._step = step
        if survivor is None:
            self._source = checkpoint_name(step) if step else None
        else:
            self._source = f"rank {survivor['rank']}"
            self._failure.setdefault("detected_at", survivor["left_at"])

    def note_reached(self, step: int | None) -> None:
        """Note the last step that was reported before the failure; None if it is not known."""
        self._reached_step = step

    def report_to(self, report: Callable[[str, Mapping[str, Any]], None], on_step: Callable[[], None]) -> None:
        """Call `on_step` and then `report` with the event's kind and details, on rank 0 after the first new step."""
        self._report, self._on_step = report, on_step

    def note_step(self) -> None:
        """Note that a step was made: after the first one, the incident is over."""
        if self._is_open:
            self._is_open = False
            if self._is_main:
                self._on_step()
                self._report(KIND, self._details(time.time()))

    def _details(self, now: float) -> dict[str, Any]:
        detected_at = self._failure.get("detected_at")
        seconds = None if detected_at is None else round(now - detected_at, 3)
        lost = None if self._reached_step is None else max(0, self._reached_step - self._step)
        reason = self._sentence(seconds, lost)
        logger.info("%s", reason)
        times = {"detected_at": detected_at, "training_at": now, "seconds": seconds}
        return {**self._failure, **times, "source": self._source, "steps_lost": lost, "reason": reason}

    def _sentence(self, seconds: float | None, lost: int | None) -> str:
        failure = self._failure
        what = f"Rank {failure['rank']} (process {failure['pid']}) {failure['how']}" if "how" in failure else ""
        what = what or "A rank ended"
        origin = "anew" if self._source is None else f"from the state of {self._source}, step {self._step}"
        after = "" if seconds is None else f" {seconds:.1f} s later"
        steps = "" if lost is None else f"; {'no step was' if lost == 0 else _steps(lost)} lost"
        return f"{what}; all ranks train again{after}, {origin}{steps}."


def _steps(count: int) -> str:
    return "1 step was" if count == 1 else f"{count} steps were"


def failure_in(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what the launcher says of the failure: `rank`, `pid`, `how`, `detected_at` (Unix s); empty if nothing."""
    with suppress(ValueError):
        found = json.loads(environment.get(INCIDENT, "{}"))
        if isinstance(found, dict):
            return found
    return {}

"""Progress, remaining time and losses in the status of a TrainJob of Kubeflow Trainer, 2.2 and later.

Trainer starts the ranks with the address of its status server, the file of its certificate authority and that of a
token which it renews. A separate thread posts the newest log point there, so that a server that is slow or away blocks
nothing; a failure is logged once, and it is tried again.
"""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from typing_extensions import override

from ddp.recording.trackers.base import Tracker
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.errors import plain_reason
from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY

URL, CERTIFICATES, TOKEN = (f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "CA_CERT", "TOKEN"))
"""Variables by which Trainer names its server, and the files to verify it and to be recognised by it."""
INTERVAL_SECONDS = 5.0
"""Shortest time between two posts: each is a write to the cluster's API server."""
ANSWER_SECONDS = 5.0
METRICS = (
    "step_current", TOTAL_LOSS_KEY, *(term.loss_key for term in LOSS_TERMS), "learning_rate_value",
    "samples_per_second", "quality_ki_value", "quality_lr_value", "best_quality_ever", "psnr_ki_db",
)  # fmt: skip
"""Keys of the record that are posted as metrics, where they have a value."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StatusServer:
    """The status server of the TrainJob whose ranks these are."""

    url: str
    certificates: Path
    token: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "StatusServer | None":
        """Return the server that Trainer names, or None outside of a TrainJob or where its status is switched off."""
        url, certificates, token = (environment.get(name, "") for name in (URL, CERTIFICATES, TOKEN))
        return cls(url, Path(certificates), Path(token)) if url and certificates and token else None

    def post(self, status: Mapping[str, Any]) -> None:
        """Post a status; raises `OSError` or `requests.RequestException` if it is not accepted."""
        token = self.token.read_text().strip()  # read each time, because it is renewed within the hour
        with requests.post(
            self.url,
            json=status,
            headers={"Authorization": f"Bearer {token}"},
            verify=str(self.certificates),
            timeout=ANSWER_SECONDS,
            allow_redirects=False,
        ) as response:
            response.raise_for_status()
            if response.is_redirect:
                raise requests.HTTPError("it redirects")


class TrainJobProgress(Tracker):
    """Tracker that keeps the status of a TrainJob up to date; a newer log point replaces one that was not posted."""

    def __init__(self, server: StatusServer) -> None:
        self._server = server
        self._waiting: dict[str, Any] | None = None
        self._next_at = float("-inf")
        self._failure = OngoingProblem()
        self._thread = BackgroundThread(
            "kubeflow",
            self._post_when_due,
            interval_seconds=INTERVAL_SECONDS,
            boundary=ErrorBoundary(logger, once=True),
            error_message="The status of the TrainJob could not be made; training goes on.",
            at_end=self._post_waiting,
        )

    @override
    def start(self, step: int) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Post what waits, and end the thread."""
        self._thread.close(2 * ANSWER_SECONDS)

    @override
    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """Post the state of a log point, at once unless another was posted less than INTERVAL_SECONDS ago."""
        self._waiting = trainer_status(snapshot, at)
        self._thread.wake()

    @override
    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Any) -> None:
        """Post the state after a validation in the same way."""
        self.log_point(step, at, record)

    # On the tracker's thread

    def _post_when_due(self) -> None:
        if time.monotonic() >= self._next_at:
            self._post_waiting()

    def _post_waiting(self) -> None:
        status, self._waiting = self._waiting, None
        if status is None:
            return
        self._next_at = time.monotonic() + INTERVAL_SECONDS
        try:
            self._server.post(status)
        except (OSError, requests.RequestException) as error:
            self._waiting = self._waiting or status
            if self._failure.begin():
                logger.warning(
                    "The status of the TrainJob cannot be updated (%s); training goes on, and it is tried again.",
                    reason_of(error),
                )
        else:
            self._failure.end()


def trainer_status(snapshot: Mapping[str, Any], at: float) -> dict[str, Any]:
    """Return the body of a post: `UpdateTrainJobStatusRequest` of v1alpha1; `at` is Unix seconds."""
    status: dict[str, Any] = {
        "progressPercentage": min(100, 100 * int(snapshot["step_current"]) // int(snapshot["step_max"])),
        "metrics": [
            {"name": key, "value": f"{value:.6g}" if isinstance(value, float) else str(value)}
            for key in METRICS
            if is_number(value := snapshot.get(key))
        ],
        "lastUpdatedTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    remaining = remaining_seconds(str(snapshot["eta_total_formatted"]))
    if remaining is not None:
        status["estimatedRemainingSeconds"] = remaining
    return {"trainerStatus": status}


def is_number(value: object) -> bool:
    """Return True for a finite number: a metric must have a value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def remaining_seconds(text: str) -> int | None:
    """Return the seconds of `HH:MM:SS`; None while they are not known, or too many for the field, an int32."""
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    hours, minutes, seconds = map(int, parts)
    total = 3600 * hours + 60 * minutes + seconds
    return total if total < 2**31 else None


def reason_of(error: Exception) -> str:
    """Return why a post failed, for the log: never the address or the token."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"Trainer answers {response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return (
        f"Trainer cannot be reached, {type(error).__name__}"
        if isinstance(error, requests.RequestException)
        else (f"its token or certificate cannot be read: {plain_reason(error)}")
    )

"""A crowd of clients that steer one training at random: what they ask is drawn from a seed, when it arrives is not."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from service.api_types import CommandAnswer
from service.client.client import ApiError, Client
from service.commands import Kind

CLIENTS = 8
ROUNDS = 25
TOGETHER_EVERY = 5
"""In every so manieth round all clients ask for the same at the same moment."""
NEVER = 10**6
"""A step that no test reaches."""

_KINDS = {
    Kind.VALIDATE: 5, Kind.PAUSE: 4, Kind.RESUME: 5, Kind.CHECKPOINT: 4, Kind.SET: 6, Kind.ROLLBACK: 2,
}  # fmt: skip
_CHANGES: tuple[dict[str, Any], ...] = (
    {"LR_SCALE": 0.5}, {"LR_SCALE": 2.0}, {"LOG_EVERY": 3}, {"VAL_STEP_EVERY": 17}, {"L1_WEIGHT": "adaptive"},
    {"L1_WEIGHT": 0.8}, {"MS_WEIGHT": 0.7}, {"GRAD_WEIGHT": None, "LR_SCALE": 1.0},
    {"MIN_LR": 0.9}, {"N_FEATS": 8}, {"LR_SCLAE": 1.0}, {"MAX_STEPS": 1},
)  # fmt: skip
"""The last four cannot be; two of the weights can be each, but not both."""


class Crowd:
    """200 requests of 8 clients. `accepted` are the ids of what was taken, `refused` counts the others by status."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._seed = url, seed
        self._together = threading.Barrier(CLIENTS, timeout=60)
        self._lock = threading.Lock()
        self.accepted: list[str] = []
        self.cancelled: list[str] = []
        self.refused: Counter[int] = Counter()

    def steer(self) -> None:
        """Let all clients ask, each in its own thread; raises what any of them met."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            for client in [threads.submit(self._be_client, number) for number in range(CLIENTS)]:
                client.result()

    def _be_client(self, number: int) -> None:
        own = random.Random(f"{self._seed} {number}")
        with Client(self._url, actor=f"client {number}") as client:
            for turn in range(ROUNDS):
                is_together = turn % TOGETHER_EVERY == 0
                draw = random.Random(f"{self._seed} together {turn}") if is_together else own
                asked = _request(draw, client.state()["step_live"])
                if is_together:
                    self._together.wait()
                self._ask(client, may_cancel=own.random() < 0.15, **asked)

    def _ask(self, client: Client, *, may_cancel: bool, **asked: Any) -> None:
        try:
            command = client.submit(**asked)
        except ApiError as error:
            with self._lock:
                self.refused[error.status] += 1
            return
        is_cancelled = may_cancel and _cancel(client, command)
        with self._lock:
            self.accepted.append(command["id"])
            if is_cancelled:
                self.cancelled.append(command["id"])


def _request(draw: random.Random, step: int) -> dict[str, Any]:
    """The arguments of one `Client.submit`, for a run at this step."""
    (kind,) = draw.choices(list(_KINDS), list(_KINDS.values()))
    change = draw.choice(_CHANGES)
    lead, is_hopeless = draw.randint(1, 60), draw.random() < 0.2
    applies_later, expires_in = draw.random() < 0.35, draw.choice([None, None, None, 0.005, 2.0])
    if is_hopeless and applies_later:
        lead, expires_in = NEVER, 0.3
    return {
        "kind": kind,
        "arguments": change if kind is Kind.SET else None,
        "apply_at_step": step + lead if applies_later else None,
        "expires_in": expires_in,
    }


def _cancel(client: Client, command: CommandAnswer) -> bool:
    """Whether the server took the command back: it may have begun meanwhile."""
    try:
        return client.cancel(command["id"])["state"] == "cancelled"
    except ApiError as error:
        if error.status != HTTPStatus.CONFLICT:
            raise
        return False

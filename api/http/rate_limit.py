"""How often one asker may ask: commands, other requests, and wrong tokens, each with an allowance of its own.

An allowance is a bucket per asker that holds a minute's worth and fills evenly. All that is kept of an asker is the
moment at which the bucket will be full again (the generic cell rate algorithm of ATM networks), by a clock that is
never set back. Who has not asked for a minute is forgotten.
"""

import math
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from api.http.problems import ProblemError
from service.config.settings import RunConfig

WINDOW_SECONDS = 60.0
MOST_ASKERS = 10_000
"""Beyond so many at once, newcomers share one bucket: memory stays bounded whoever asks."""
TIDY_SECONDS = 1.0
ROUNDING_SECONDS = 1e-9
WRONG_TOKENS_PER_MINUTE = 30

Clock = Callable[[], float]


class RateLimit:
    """`per_minute` takings a minute for each asker; safe to use from several threads."""

    def __init__(self, name: str, per_minute: int, clock: Clock = time.monotonic) -> None:
        """`name` is the plural that refusals speak of."""
        self.name = name
        self.per_minute = per_minute
        self._interval = WINDOW_SECONDS / per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._tidied_at = -math.inf
        self._lock = threading.Lock()

    def take(self, asker: str) -> float:
        """Take one; returns 0, or the seconds until there will be one to take."""
        now = self._clock()
        with self._lock:
            key = self._key_of(asker, now)
            full_at = max(self._full_at.get(key, now), now) + self._interval
            excess = full_at - now - WINDOW_SECONDS
            if excess > ROUNDING_SECONDS:
                return excess
            self._full_at[key] = full_at
            return 0.0

    def has_room(self, asker: str) -> bool:
        """Whether there is one to take, without taking it."""
        now = self._clock()
        with self._lock:
            full_at = max(self._full_at.get(self._key_of(asker, now), now), now)
        return full_at + self._interval - now - WINDOW_SECONDS <= ROUNDING_SECONDS

    def require_room(self, asker: str) -> None:
        """Take one; raises `ProblemError` (too-many-requests) that says when to come again."""
        if wait_seconds := self.take(asker):
            seconds = math.ceil(wait_seconds)
            raise ProblemError(
                "too-many-requests",
                f"Only {self.per_minute} {self.name} a minute are taken from {asker}: wait {seconds} s, and ask less.",
                {
                    "Retry-After": str(seconds),
                    # draft-ietf-httpapi-ratelimit-headers-10
                    "RateLimit-Policy": f'"{self.name}";q={self.per_minute};w={WINDOW_SECONDS:.0f}',
                    "RateLimit": f'"{self.name}";r=0;t={seconds}',
                },
            )

    def _key_of(self, asker: str, now: float) -> str:
        """Under which name a bucket is kept: for newcomers the asker's own while there is space."""
        if asker in self._full_at or len(self._full_at) < MOST_ASKERS:
            return asker
        if now - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = now
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        return asker if len(self._full_at) < MOST_ASKERS else ""


class RateLimits:
    """The allowances of one server."""

    def __init__(self, config: RunConfig, clock: Clock = time.monotonic) -> None:
        self.commands = RateLimit("commands", config.api_commands_per_minute, clock)
        self.reads = RateLimit("requests", config.api_reads_per_minute, clock)
        self.wrong_tokens = RateLimit("wrong tokens", WRONG_TOKENS_PER_MINUTE, clock)


@lru_cache(maxsize=1024)
def client_network(address: str) -> str:
    """What is counted as one asker: an IPv4 address, or the 64 bits of an IPv6 address that its owner does not choose.

    Other text, as a socket without an address has it, stands for itself.
    """
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        mapped = known.ipv4_mapped
        return str(mapped) if mapped else f"{IPv6Address(int(known) >> 64 << 64)}/64"
    return str(known)

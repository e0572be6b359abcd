"""Rate limits per client: for commands, other requests, and wrong tokens.

Each limit is a token bucket per client that holds one minute's requests and refills evenly. The only state per client
is the time at which its bucket is full again (generic cell rate algorithm, GCRA), on a monotonic clock. A client
without a request for one minute is forgotten.
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
MAX_CLIENTS = 10_000
"""Above this number, new clients share one bucket, so that memory stays bounded."""
CLEANUP_SECONDS = 1.0
ROUNDING_SECONDS = 1e-9
WRONG_TOKENS_PER_MINUTE = 30

Clock = Callable[[], float]


class RateLimit:
    """Limit of `per_minute` requests per minute and client; thread-safe."""

    def __init__(self, name: str, per_minute: int, clock: Clock = time.monotonic) -> None:
        """Create a limit; error messages and headers call the limited requests `name` (a plural)."""
        self.name = name
        self.per_minute = per_minute
        self._interval = WINDOW_SECONDS / per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._cleaned_up_at = -math.inf
        self._lock = threading.Lock()

    @property
    def bucket_count(self) -> int:
        """Number of buckets in memory; at most MAX_CLIENTS and the shared one."""
        return len(self._full_at)

    def take(self, client: str) -> float:
        """Take one request from the client's bucket; returns 0, or if it is empty, the seconds until it is not."""
        now = self._clock()
        with self._lock:
            bucket = self._bucket_of(client, now)
            full_at = max(self._full_at.get(bucket, now), now) + self._interval
            excess = full_at - now - WINDOW_SECONDS
            if excess > ROUNDING_SECONDS:
                return excess
            self._full_at[bucket] = full_at
            return 0.0

    def has_capacity(self, client: str) -> bool:
        """Whether the client's bucket has a request left; takes none."""
        now = self._clock()
        with self._lock:
            full_at = max(self._full_at.get(self._bucket_of(client, now), now), now)
        return full_at + self._interval - now - WINDOW_SECONDS <= ROUNDING_SECONDS

    def require_capacity(self, client: str) -> dict[str, str]:
        """Take one request from the bucket; returns what headers say of the rest.

        Raises `ProblemError` (too-many-requests) with the same headers, and Retry-After in seconds.
        """
        if wait_seconds := self.take(client):
            seconds = math.ceil(wait_seconds)
            raise ProblemError(
                "too-many-requests",
                f"Only {self.per_minute} {self.name} a minute are taken from {client}: wait {seconds} s, and ask less.",
                {"Retry-After": str(seconds), **self._fields(0, seconds)},
            )
        return self._fields(*self._rest(client))

    def _rest(self, client: str) -> tuple[int, int]:
        """Return how many requests the client's bucket holds, and the seconds until it holds one more."""
        now = self._clock()
        with self._lock:
            full_at = max(self._full_at.get(self._bucket_of(client, now), now), now)
        capacity = (WINDOW_SECONDS - (full_at - now)) / self._interval + ROUNDING_SECONDS
        return int(capacity), math.ceil((1 - capacity % 1) * self._interval)

    def _fields(self, rest: int, seconds: int) -> dict[str, str]:
        """Return the header fields of draft-ietf-httpapi-ratelimit-headers-11."""
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.per_minute};w={WINDOW_SECONDS:.0f}',
            "RateLimit": f'"{self.name}";r={rest};t={seconds}',
        }

    def _bucket_of(self, client: str, now: float) -> str:
        """Return the bucket of a client: its own, or the shared one for a new client above MAX_CLIENTS."""
        if client in self._full_at or len(self._full_at) < MAX_CLIENTS:
            return client
        if now - self._cleaned_up_at >= CLEANUP_SECONDS:
            self._cleaned_up_at = now
            self._full_at = {bucket: full_at for bucket, full_at in self._full_at.items() if full_at > now}
        return client if len(self._full_at) < MAX_CLIENTS else ""


class RateLimits:
    """Rate limits of one server."""

    def __init__(self, config: RunConfig, clock: Clock = time.monotonic) -> None:
        self.commands = RateLimit("commands", config.api_commands_per_minute, clock)
        self.reads = RateLimit("requests", config.api_reads_per_minute, clock)
        self.wrong_tokens = RateLimit("wrong tokens", WRONG_TOKENS_PER_MINUTE, clock)


@lru_cache(maxsize=1024)
def client_network(address: str) -> str:
    """Return the network counted as one client: an IPv4 address, or the /64 prefix of an IPv6 address.

    The owner of an IPv6 network chooses the lower 64 bits freely. Text that is no address is returned unchanged, such
    as that of a Unix socket.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)

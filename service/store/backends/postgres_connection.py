"""A connection to a PostgreSQL server with a time limit on every wait for a response.

A frozen server process keeps its connections open while its operating system still acknowledges packets. Neither the
server's own timeouts nor those of TCP end a wait for such a server.
"""

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.waiting import Ready

CONNECT_SECONDS = 3
PING_AFTER_SECONDS = 3.0
"""After so long without data, a ping over a separate connection checks whether the server responds at all."""
RESPONSE_TIMEOUT_SECONDS = 60.0
"""Longer than any statement may take: ends the wait even if the server responds to pings."""

T = TypeVar("T")


class PostgresConnection(psycopg.Connection[Any]):
    """A connection that closes itself and raises `psycopg.OperationalError` if the server does not respond."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """Run one exchange with the server; see `psycopg.Connection.wait`."""
        return super().wait(self._with_timeout(gen), *arguments, **options)

    def _with_timeout(self, exchange: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        received_at = checked_at = time.monotonic()
        try:
            wanted = next(exchange)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready != Ready.NONE:
                    received_at = checked_at = now
                elif now > checked_at + PING_AFTER_SECONDS:
                    if now > received_at + RESPONSE_TIMEOUT_SECONDS or not responds(self.info.dsn):
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"no answer for {time.monotonic() - received_at:.0f} s")
                    checked_at = time.monotonic()
                wanted = exchange.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def responds(dsn: str) -> bool:
    """Return True if a server at this address responds in any way, even by refusing the connection."""
    ping_dsn = psycopg.conninfo.make_conninfo(dsn, connect_timeout=CONNECT_SECONDS)
    return psycopg.pq.PGconn.ping(ping_dsn.encode()) != psycopg.pq.Ping.NO_RESPONSE

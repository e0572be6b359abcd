"""A connection to a PostgreSQL server that does not wait without end for an answer.

A server that is frozen, not dead, keeps its connections open: the system goes on confirming what it is sent, so neither
the server's own time limits nor those of TCP end a wait.
"""

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.waiting import Ready

CONNECT_SECONDS = 3
SILENCE_SECONDS = 3.0
"""After so long without a word it is asked over a connection of its own whether the server answers at all."""
LONGEST_SILENCE_SECONDS = 60.0
"""More than any statement may take: a server that answers others, but not this connection, is given up too."""

T = TypeVar("T")


class PostgresConnection(psycopg.Connection[Any]):
    """A connection that closes itself and raises `psycopg.OperationalError` once no answer is to be expected."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """Carry out one exchange with the server; see `psycopg.Connection.wait`."""
        return super().wait(self._limited(gen), *arguments, **options)

    def _limited(self, exchange: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        heard_at = asked_at = time.monotonic()
        try:
            wanted = next(exchange)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready != Ready.NONE:
                    heard_at = asked_at = now
                elif now > asked_at + SILENCE_SECONDS:
                    if now > heard_at + LONGEST_SILENCE_SECONDS or not says_anything(self.info.dsn):
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"no answer for {time.monotonic() - heard_at:.0f} s")
                    asked_at = time.monotonic()
                wanted = exchange.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def says_anything(dsn: str) -> bool:
    """Whether a server says anything at all at this address, if only that it lets nobody in yet."""
    patient_once = psycopg.conninfo.make_conninfo(dsn, connect_timeout=CONNECT_SECONDS)
    return psycopg.pq.PGconn.ping(patient_once.encode()) != psycopg.pq.Ping.NO_RESPONSE

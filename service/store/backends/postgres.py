"""The store as a database on a PostgreSQL server, to which trainers on many machines report.

Messages never contain the password. A broken connection is replaced at the next transaction.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError

from service.errors import SettingError
from service.store.backends.base import (
    Backend,
    StoreConflictError,
    StoreReadOnlyError,
    StoreUnavailableError,
    encode_json,
)
from service.store.backends.postgres_connection import CONNECT_SECONDS, PostgresConnection
from service.store.backends.postgres_listener import CHANNEL, NotifyListener
from service.store.schema_upgrade import needs_upgrade, upgrade

STATEMENT_TIMEOUT_FACTOR = 10
"""Maximum duration of a statement, as a multiple of the lock timeout."""
PATIENCE_FACTOR = 2
"""How long a trainer waits for a run's lock, as a multiple of the lock timeout."""
STATEMENT_TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout")
TRANSIENT_SQLSTATES = ("40", "53", "55", "57")
"""SQLSTATE classes: transaction rollback, insufficient resources, object in use, operator intervention."""
READ_ONLY_SQLSTATES = frozenset({"25006", "42501"})
"""A read-only transaction, as on a standby, and a privilege that the role lacks."""
SINGLE_THREAD_POOL = {"pool_size": 1, "max_overflow": 4}
MULTI_THREAD_POOL = {"pool_size": 4, "max_overflow": 16}
"""Connections kept open, and additional ones under load: a server usually allows about a hundred in total."""

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_NOTIFY = sa.text(f"SELECT pg_notify('{CHANNEL}', :name)")
_PATIENT_LOCK = sa.text(
    "SELECT set_config('lock_timeout', :patience, true), pg_advisory_xact_lock(hashtextextended(:name, 0))"
)
_LOCK_AND_NOTIFY = sa.text(f"SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)), pg_notify('{CHANNEL}', :name)")


class PostgresServer(Backend):
    """One database on a PostgreSQL server."""

    shows_writes_early = False

    def __init__(self, url: str, *, keep_open: bool, busy_seconds: float) -> None:
        """Prepare the connection pool; raises `SettingError` for an invalid `url`.

        With `keep_open`, the pool is sized for one thread (the trainer). `busy_seconds` is how long to wait for a lock.
        """
        self._url = _parsed(url)
        self._is_upgraded = False
        self._patience = f"{PATIENCE_FACTOR * _milliseconds(busy_seconds)}ms"
        arguments = _connect_arguments(self._url, busy_seconds)
        self.engine = sa.create_engine(
            self._url,
            poolclass=sa.pool.QueuePool,
            pool_pre_ping=True,
            pool_timeout=busy_seconds,
            connect_args=arguments,
            json_serializer=encode_json,
            **(SINGLE_THREAD_POOL if keep_open else MULTI_THREAD_POOL),
        )
        sa.event.listen(self.engine, "do_connect", _connect)
        _, url_arguments = self.engine.dialect.create_connect_args(self._url)
        url_arguments.pop("context", None)  # added by SQLAlchemy, unknown to psycopg
        self._arguments: dict[str, Any] = {**url_arguments, **arguments}
        self._listener = NotifyListener(partial(PostgresConnection.connect, autocommit=True, **self._arguments))

    @property
    def location(self) -> str:
        """The URL without user, password and options."""
        url = self._url
        return sa.URL.create("postgresql", host=url.host, port=url.port, database=url.database).render_as_string()

    def exists(self) -> bool:
        """Return True: only a connection could show that there is no such database."""
        return True

    def is_permanent_failure(self) -> bool:
        """Return True if the server accepts connections in general."""
        conninfo = psycopg.conninfo.make_conninfo(**self._arguments)
        return psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK

    def create(self) -> None:
        """Do nothing: the first transaction creates the tables, since a trainer may start while the server is down."""

    def prepare(self) -> None:
        """Create or upgrade the tables at the first transaction; a lock makes other processes wait for that."""
        if self._is_upgraded:
            return
        with self.engine.begin() as connection:
            if needs_upgrade(connection):
                connection.execute(_LOCK, {"name": "the tables of leitstand"})
                upgrade(connection)
        self._is_upgraded = True

    def translate_error(self, error: DBAPIError) -> Exception:
        """Return `ValueError` for a data error, `StoreConflictError` for a violated key, else `StoreUnavailableError`.

        Sentences are without the password.
        """
        text = self._without_password(" ".join(str(error.orig).split()))
        if isinstance(error, DataError):
            return ValueError(f"not storable: {text}")
        if isinstance(error, IntegrityError):
            return StoreConflictError(f"store {self.location}: {text}")
        if isinstance(error.orig, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            self._is_upgraded = False  # the database was replaced by an empty one, or by one of an earlier version
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        if sqlstate in READ_ONLY_SQLSTATES:
            return StoreReadOnlyError(f"store {self.location} can only be read: {text}")
        is_transient = sqlstate.startswith(TRANSIENT_SQLSTATES)
        return StoreUnavailableError(f"store {self.location}: {text}", is_transient=is_transient)

    def lock_run(self, connection: sa.Connection, run_id: str) -> None:
        """Take the run's advisory lock, so that event ids of the run become visible in ascending order."""
        connection.execute(_LOCK_AND_NOTIFY, {"name": run_id})

    def lock_run_silently(self, connection: sa.Connection, run_id: str) -> None:
        """Take the run's advisory lock; wait longer, because nobody waits for what a trainer writes."""
        connection.execute(_PATIENT_LOCK, {"name": run_id, "patience": self._patience})

    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """Send the run's id on the channel."""
        connection.execute(_NOTIFY, {"name": run_id})

    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Set the isolation level to repeatable read."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def change_stamp(self, run_id: str) -> tuple[int, int]:
        """Return the listener's counts of connections and of notifications for this run."""
        return self._listener.stamp(run_id)

    def close(self) -> None:
        """Stop the listener and close all connections."""
        self._listener.close()
        self.engine.dispose()

    def _without_password(self, text: str) -> str:
        for name in ("password", "sslpassword"):
            if secret := str(self._arguments.get(name) or ""):
                text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


def _connect(_dialect: Any, _record: Any, arguments: Sequence[Any], options: dict[str, Any]) -> PostgresConnection:
    return PostgresConnection.connect(*arguments, **options)


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise SettingError(
            "STORE_URL is not the address of a PostgreSQL database; write postgresql://user:password@host:5432/name."
        )
    return parsed.set(drivername="postgresql+psycopg")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _connect_arguments(url: sa.URL, busy_seconds: float) -> dict[str, Any]:
    """Return connection arguments that the URL does not set: timeouts after which either side drops a dead peer.

    Without them, a lock held by a trainer whose machine lost power would block the next trainer of the run.
    """
    milliseconds = _milliseconds(busy_seconds)
    statement_timeouts = dict.fromkeys(STATEMENT_TIMEOUTS, STATEMENT_TIMEOUT_FACTOR * milliseconds)
    timeouts = {"lock_timeout": milliseconds, **statement_timeouts}
    arguments = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "leitstand",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    options = [f"-c {name}={value}" for name, value in timeouts.items()]
    options += url.normalized_query.get("options", ())  # the later of two contradicting options applies
    return {"options": " ".join(options), **{name: arguments[name] for name in arguments.keys() - url.query.keys()}}

"""The store as a database of a PostgreSQL server, into which trainers on many machines report.

The password never gets into a sentence. A connection that broke is replaced at the next transaction.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError

from service.errors import SettingError
from service.store.backends.base import Backend, StoreUnavailableError, encode_json
from service.store.backends.postgres_connection import CONNECT_SECONDS, PostgresConnection
from service.store.backends.postgres_listener import CHANNEL, NotifyListener
from service.store.schema_upgrade import complete, is_incomplete

LONGEST_STATEMENT = 10
"""How many times longer a statement may take than one may wait for a lock."""
LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout")
PASSING = ("40", "53", "55", "57")
"""Classes of SQLSTATE: rolled back for others, no room, locked, cancelled or shutting down."""
POOL_OF_ONE = {"pool_size": 1, "max_overflow": 4}
POOL_OF_MANY = {"pool_size": 4, "max_overflow": 16}
"""Connections that are kept, and that may come on top: a server has about a hundred for everybody."""

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_NOTIFY = sa.text(f"SELECT pg_notify('{CHANNEL}', :name)")
_LOCK_AND_NOTIFY = sa.text(f"SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)), pg_notify('{CHANNEL}', :name)")


class PostgresServer(Backend):
    """One database of one server."""

    shows_writes_early = False

    def __init__(self, url: str, *, keep_open: bool, busy_seconds: float) -> None:
        """`keep_open`: one thread uses it most of the time (the trainer). Raises `SettingError` for a wrong `url`."""
        self._url = _parsed(url)
        self._is_complete = False
        arguments = _connect_arguments(self._url, busy_seconds)
        self.engine = sa.create_engine(
            self._url,
            poolclass=sa.pool.QueuePool,
            pool_pre_ping=True,
            pool_timeout=busy_seconds,
            connect_args=arguments,
            json_serializer=encode_json,
            **(POOL_OF_ONE if keep_open else POOL_OF_MANY),
        )
        sa.event.listen(self.engine, "do_connect", _connect)
        _, of_url = self.engine.dialect.create_connect_args(self._url)
        of_url.pop("context", None)  # of SQLAlchemy's own
        self._arguments: dict[str, Any] = {**of_url, **arguments}
        self._notices = NotifyListener(partial(PostgresConnection.connect, autocommit=True, **self._arguments))

    @property
    def place(self) -> str:
        """Its URL without user, password and options."""
        url = self._url
        return sa.URL.create("postgresql", host=url.host, port=url.port, database=url.database).render_as_string()

    def exists(self) -> bool:
        """There is a server to ask, as far as anybody knows before asking."""
        return True

    def is_permanent_failure(self) -> bool:
        """Whether a server is there and takes connections, if perhaps not this one."""
        conninfo = psycopg.conninfo.make_conninfo(**self._arguments)
        return psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK

    def create(self) -> None:
        """The first transaction does it: a trainer may start while the server is away."""

    def prepare(self) -> None:
        """Make or complete the tables, once: whoever comes first to a new database does it, others wait."""
        if self._is_complete:
            return
        with self.engine.begin() as connection:
            if is_incomplete(connection):
                connection.execute(_LOCK, {"name": "the tables of leitstand"})
                complete(connection)
        self._is_complete = True

    def explain(self, error: DBAPIError) -> Exception:
        """Tell wrong values from a store that cannot be used."""
        text = self._without_password(" ".join(str(error.orig).split()))
        if isinstance(error, DataError):
            return ValueError(f"not storable: {text}")
        if isinstance(error.orig, psycopg.errors.UndefinedTable):
            self._is_complete = False  # somebody has put an empty database in this one's place
        state = getattr(error.orig, "sqlstate", None) or ""
        return StoreUnavailableError(f"store {self.place}: {text}", will_pass=state.startswith(PASSING))

    def lock_run(self, connection: sa.Connection, run_id: str) -> None:
        """One lock for each run, so the numbers in its journal become visible in their order."""
        connection.execute(_LOCK_AND_NOTIFY, {"name": run_id})

    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """Who listens hears the run's id."""
        connection.execute(_NOTIFY, {"name": run_id})

    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Read one snapshot."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def change_stamp(self, run_id: str) -> tuple[int, int]:
        """How often there was a notice of this run."""
        return self._notices.stamp(run_id)

    def close(self) -> None:
        """Give back kept connections."""
        self._notices.close()
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


def _connect_arguments(url: sa.URL, busy_seconds: float) -> dict[str, Any]:
    """How to connect, where the URL does not say otherwise: neither may wait without end for the other that vanished.

    What a trainer held when its machine lost power must not keep the next one from the run.
    """
    milliseconds = max(1, round(busy_seconds * 1000))
    limits = {"lock_timeout": milliseconds, **dict.fromkeys(LIMITS, LONGEST_STATEMENT * milliseconds)}
    arguments = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "leitstand",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    options = [f"-c {name}={value}" for name, value in limits.items()]
    options += url.normalized_query.get("options", ())  # of two that contradict each other the later one counts
    return {"options": " ".join(options), **{name: arguments[name] for name in arguments.keys() - url.query.keys()}}

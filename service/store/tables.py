"""Tables of the store: runs, series and their rollups, records, commands, events, ranks, deliveries.

JSON columns hold plain values. Times are Unix seconds.
"""

from functools import cache
from importlib import import_module
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


class StorableText(sa.TypeDecorator[str]):
    """StorableText column that replaces characters which a database cannot store (NUL, unpaired surrogates)."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        """Return `value` as it is stored and compared."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()


# SQLite generates row numbers only in a column that is declared INTEGER; its integers have 64 bits anyway.
BigInteger = sa.BigInteger().with_variant(sa.Integer, "sqlite")
OptionalJson = sa.JSON(none_as_null=True)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", StorableText, primary_key=True),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("heartbeat_at", sa.Double, nullable=False),
    sa.Column("progress_at", sa.Double, nullable=False),
    sa.Column("step", BigInteger, nullable=False),
    sa.Column("state", StorableText, nullable=False),
    sa.Column("reason", StorableText),
    sa.Column("snapshot", OptionalJson),
    sa.Column("live", OptionalJson),
    sa.Column("facts", OptionalJson),
    # Lets the trainer check whether its last transaction was committed, if the connection was lost during the commit.
    sa.Column("last_writing", StorableText),
    # The start that reports the run, where it runs (for people), and which start of the run it is.
    sa.Column("owner", StorableText),
    sa.Column("owner_host", StorableText),
    sa.Column("owner_pid", BigInteger),
    sa.Column("start_number", BigInteger),
    # What people call the run, and what they wrote down about it. Only the API writes these two, the trainer never.
    sa.Column("name", StorableText),
    sa.Column("note", StorableText),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("run_id", StorableText, primary_key=True),
    sa.Column("step", BigInteger, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("values", sa.JSON, nullable=False),
)

# The step before which a run's series is aggregated, and the first step of every value before it, by name.
series_progress = sa.Table(
    "series_progress",
    metadata,
    sa.Column("run_id", StorableText, primary_key=True),
    sa.Column("summarised_to", BigInteger, nullable=False),
    sa.Column("names", sa.JSON, nullable=False),
    # Which rules the rollups were written by; null: by a version that let two trainers of one run mix them up.
    sa.Column("rollup_version", sa.Integer),
    # What is replaced whenever rollups before `summarised_to` may become others; see `rollups/kept.py`.
    sa.Column("rollup_token", StorableText),
)

# One row per bucket of steps: the names of the values and the aggregate of each (packed by `rollups/buckets.py`).
series_summaries = sa.Table(
    "series_summaries",
    metadata,
    sa.Column("run_id", StorableText, primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("bucket", BigInteger, primary_key=True),
    sa.Column("names", sa.JSON, nullable=False),
    sa.Column("stretches", sa.LargeBinary, nullable=False),
)

records = sa.Table(
    "records",
    metadata,
    sa.Column("run_id", StorableText, primary_key=True),
    sa.Column("step", BigInteger, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("sha256", StorableText, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
)

commands = sa.Table(
    "commands",
    metadata,
    # The order of acceptance; times do not give it if the clock is set back.
    sa.Column("number", BigInteger, primary_key=True, autoincrement=True),
    sa.Column("id", StorableText, nullable=False, unique=True),
    sa.Column("run_id", StorableText, nullable=False),
    sa.Column("kind", StorableText, nullable=False),
    sa.Column("state", StorableText, nullable=False, index=True),
    sa.Column("actor", StorableText, nullable=False),
    sa.Column("source", StorableText, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("apply_at_step", BigInteger),
    sa.Column("expires_at", sa.Double),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("step", BigInteger),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("result", OptionalJson),
    sa.Column("reason", StorableText),
    sa.Column("idempotency_key", StorableText),
    sa.Column("fingerprint", StorableText),
    sa.Column("why", StorableText),
    sa.Index("ix_commands_run_id_number", "run_id", "number"),
    sa.Index("ux_commands_run_id_key", "run_id", "idempotency_key", unique=True),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", BigInteger, primary_key=True, autoincrement=True),
    sa.Column("run_id", StorableText, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("step", BigInteger, nullable=False),
    sa.Column("kind", StorableText, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Index("ix_events_run_id_id", "run_id", "id"),
    sa.Index("ix_events_run_id_kind_id", "run_id", "kind", "id"),
)

ranks = sa.Table(
    "ranks",
    metadata,
    sa.Column("run_id", StorableText, primary_key=True),
    sa.Column("rank", sa.Integer, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("host", StorableText),
    sa.Column("pid", BigInteger),
    sa.Column("device", StorableText),
    sa.Column("stage", StorableText, nullable=False),
    sa.Column("step", BigInteger),
    sa.Column("stage_seconds", sa.Double, nullable=False),
    sa.Column("stack", StorableText),
    sa.Column("stacked_at", sa.Double),
)

# The last alert of a run that one receiver got, and the process that holds the lease on the delivery.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("run_id", StorableText, primary_key=True),
    sa.Column("receiver", StorableText, primary_key=True),
    sa.Column("event_id", BigInteger, nullable=False),
    sa.Column("holder", StorableText),
    sa.Column("held_until", sa.Double, nullable=False),
)


@cache
def upsert(table: sa.Table, dialect: str) -> Any:
    """Return an `INSERT` of whole rows in which a row replaces the one with its primary key."""
    insert = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    others = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=others)

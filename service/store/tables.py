"""The store's tables: runs, series and their summaries, records, commands, events, ranks, deliveries.

JSON columns hold plain values. Times are Unix seconds.
"""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


class Text(sa.TypeDecorator[str]):
    """Text that both databases can hold; what they cannot (NUL, halves of surrogate pairs) becomes a sign for it."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        """`value` as it is stored and looked for."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()


# SQLite numbers rows only in a column that is declared INTEGER; its integers have 64 bits anyway.
Whole = sa.BigInteger().with_variant(sa.Integer, "sqlite")
OptionalJson = sa.JSON(none_as_null=True)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("heartbeat_at", sa.Double, nullable=False),
    sa.Column("progress_at", sa.Double, nullable=False),
    sa.Column("step", Whole, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("snapshot", OptionalJson),
    sa.Column("live", OptionalJson),
    sa.Column("facts", OptionalJson),
    # By which the trainer knows whether its last transaction was kept, if it lost the connection before it heard so.
    sa.Column("last_writing", Text),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("step", Whole, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("values", sa.JSON, nullable=False),
)

# How far the series of a run are summarised, and the first step of every value up to there by its name.
series_progress = sa.Table(
    "series_progress",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("summarised_to", Whole, nullable=False),
    sa.Column("names", sa.JSON, nullable=False),
)

# One row per bucket of steps: the values' names, and what each did there (packed in `rollups/buckets.py`).
series_summaries = sa.Table(
    "series_summaries",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("bucket", Whole, primary_key=True),
    sa.Column("names", sa.JSON, nullable=False),
    sa.Column("stretches", sa.LargeBinary, nullable=False),
)

records = sa.Table(
    "records",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("step", Whole, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("sha256", Text, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
)

commands = sa.Table(
    "commands",
    metadata,
    # The order of acceptance, which times cannot give when a clock is set back.
    sa.Column("number", Whole, primary_key=True, autoincrement=True),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("run_id", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("state", Text, nullable=False, index=True),
    sa.Column("actor", Text, nullable=False),
    sa.Column("source", Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("apply_at_step", Whole),
    sa.Column("expires_at", sa.Double),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("step", Whole),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("result", OptionalJson),
    sa.Column("reason", Text),
    sa.Column("idempotency_key", Text),
    sa.Column("fingerprint", Text),
    sa.Index("ix_commands_run_id_number", "run_id", "number"),
    sa.Index("ux_commands_run_id_key", "run_id", "idempotency_key", unique=True),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", Whole, primary_key=True, autoincrement=True),
    sa.Column("run_id", Text, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("step", Whole, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Index("ix_events_run_id_id", "run_id", "id"),
    sa.Index("ix_events_run_id_kind_id", "run_id", "kind", "id"),
)

ranks = sa.Table(
    "ranks",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("rank", sa.Integer, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("host", Text),
    sa.Column("pid", Whole),
    sa.Column("device", Text),
    sa.Column("stage", Text, nullable=False),
    sa.Column("step", Whole),
    sa.Column("stage_seconds", sa.Double, nullable=False),
    sa.Column("stack", Text),
    sa.Column("stacked_at", sa.Double),
)

# How far the alerts of a run were delivered to one receiver, and who is at it until when.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("run_id", Text, primary_key=True),
    sa.Column("receiver", Text, primary_key=True),
    sa.Column("event_id", Whole, nullable=False),
    sa.Column("holder", Text),
    sa.Column("held_until", sa.Double, nullable=False),
)

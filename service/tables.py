"""The store's tables: runs, series, records, commands, events, ranks. JSON columns hold plain values.

Times are Unix seconds.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("heartbeat_at", sa.Float, nullable=False),
    sa.Column("progress_at", sa.Float, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.String),
    sa.Column("snapshot", sa.JSON(none_as_null=True)),
    sa.Column("live", sa.JSON(none_as_null=True)),
    sa.Column("facts", sa.JSON(none_as_null=True)),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("values", sa.JSON, nullable=False),
)

records = sa.Table(
    "records",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
)

commands = sa.Table(
    "commands",
    metadata,
    # The order of acceptance, which times cannot give when a clock is set back.
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("apply_at_step", sa.Integer),
    sa.Column("expires_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("step", sa.Integer),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("reason", sa.String),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
)

ranks = sa.Table(
    "ranks",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("rank", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("host", sa.String),
    sa.Column("pid", sa.Integer),
    sa.Column("device", sa.String),
    sa.Column("stage", sa.String, nullable=False),
    sa.Column("step", sa.Integer),
    sa.Column("stage_seconds", sa.Float, nullable=False),
    sa.Column("stack", sa.String),
    sa.Column("stacked_at", sa.Float),
)

"""Stores as earlier versions made them, before one or another column or table."""

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

TABLES = """
CREATE TABLE runs (
    id VARCHAR NOT NULL, config JSON NOT NULL, started_at FLOAT NOT NULL, heartbeat_at FLOAT NOT NULL,
    progress_at FLOAT NOT NULL, step INTEGER NOT NULL, state VARCHAR NOT NULL, reason VARCHAR, snapshot JSON,
    PRIMARY KEY (id)
);
CREATE TABLE series (
    run_id VARCHAR NOT NULL, step INTEGER NOT NULL, time FLOAT NOT NULL, "values" JSON NOT NULL,
    PRIMARY KEY (run_id, step)
);
CREATE TABLE records (
    run_id VARCHAR NOT NULL, step INTEGER NOT NULL, time FLOAT NOT NULL, sha256 VARCHAR NOT NULL, record JSON NOT NULL,
    PRIMARY KEY (run_id, step)
);
CREATE TABLE commands (
    number INTEGER NOT NULL, id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    state VARCHAR NOT NULL, actor VARCHAR NOT NULL, source VARCHAR NOT NULL, created_at FLOAT NOT NULL,
    started_at FLOAT, finished_at FLOAT, step INTEGER, arguments JSON NOT NULL, result JSON, reason VARCHAR,
    PRIMARY KEY (number), UNIQUE (id)
);
CREATE INDEX ix_commands_run_id ON commands (run_id);
CREATE INDEX ix_commands_state ON commands (state);
CREATE TABLE events (
    id INTEGER NOT NULL, run_id VARCHAR NOT NULL, time FLOAT NOT NULL, step INTEGER NOT NULL, kind VARCHAR NOT NULL,
    details JSON NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX ix_events_run_id ON events (run_id);
INSERT INTO runs VALUES ('run-1', '{"SCALE": 3}', 1.0, 1.0, 1.0, 120, 'stopped', NULL, NULL);
INSERT INTO commands VALUES (
    1, 'c0ffee', 'run-1', 'validate', 'done', 'eva', 'cli', 1.0, 1.0, 2.0, 100, '{}',
    '{"record": "Statistik_100.json"}', NULL
);
"""


def write_old_store(path: Path) -> None:
    """A store of version 0.1.0 with one run and one command: before `live`, `facts`, `apply_at_step`, and ranks."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(TABLES)


TABLES_WITHOUT_OWNERS = """
CREATE TABLE commands (
    number {serial} NOT NULL, id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    state VARCHAR NOT NULL, actor VARCHAR NOT NULL, source VARCHAR NOT NULL, created_at {double} NOT NULL,
    apply_at_step {big}, expires_at {double}, started_at {double}, finished_at {double}, step {big},
    arguments JSON NOT NULL, result JSON, reason VARCHAR, idempotency_key VARCHAR, fingerprint VARCHAR,
    PRIMARY KEY (number), UNIQUE (id)
);
CREATE INDEX ix_commands_run_id_number ON commands (run_id, number);
CREATE INDEX ix_commands_state ON commands (state);
CREATE UNIQUE INDEX ux_commands_run_id_key ON commands (run_id, idempotency_key);
CREATE TABLE deliveries (
    run_id VARCHAR NOT NULL, receiver VARCHAR NOT NULL, event_id {big} NOT NULL, holder VARCHAR,
    held_until {double} NOT NULL, PRIMARY KEY (run_id, receiver)
);
CREATE TABLE events (
    id {serial} NOT NULL, run_id VARCHAR NOT NULL, time {double} NOT NULL, step {big} NOT NULL, kind VARCHAR NOT NULL,
    details JSON NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX ix_events_run_id_id ON events (run_id, id);
CREATE INDEX ix_events_run_id_kind_id ON events (run_id, kind, id);
CREATE TABLE ranks (
    run_id VARCHAR NOT NULL, rank INTEGER NOT NULL, time {double} NOT NULL, host VARCHAR, pid {big}, device VARCHAR,
    stage VARCHAR NOT NULL, step {big}, stage_seconds {double} NOT NULL, stack VARCHAR, stacked_at {double},
    PRIMARY KEY (run_id, rank)
);
CREATE TABLE records (
    run_id VARCHAR NOT NULL, step {big} NOT NULL, time {double} NOT NULL, sha256 VARCHAR NOT NULL,
    record JSON NOT NULL, PRIMARY KEY (run_id, step)
);
CREATE TABLE runs (
    id VARCHAR NOT NULL, config JSON NOT NULL, started_at {double} NOT NULL, heartbeat_at {double} NOT NULL,
    progress_at {double} NOT NULL, step {big} NOT NULL, state VARCHAR NOT NULL, reason VARCHAR, snapshot JSON,
    live JSON, facts JSON, last_writing VARCHAR, PRIMARY KEY (id)
);
CREATE TABLE series (
    run_id VARCHAR NOT NULL, step {big} NOT NULL, time {double} NOT NULL, "values" JSON NOT NULL,
    PRIMARY KEY (run_id, step)
);
CREATE TABLE series_progress (
    run_id VARCHAR NOT NULL, summarised_to {big} NOT NULL, names JSON NOT NULL, PRIMARY KEY (run_id)
);
CREATE TABLE series_summaries (
    run_id VARCHAR NOT NULL, level INTEGER NOT NULL, bucket {big} NOT NULL, names JSON NOT NULL,
    stretches {blob} NOT NULL, PRIMARY KEY (run_id, level, bucket)
);
INSERT INTO runs VALUES ('run-1', '{{"SCALE": 3}}', 1.0, 1.0, 1.0, 120, 'running', NULL, NULL, NULL, NULL, 'f00');
"""
TYPES = {
    "sqlite": {"serial": "INTEGER", "big": "INTEGER", "double": "DOUBLE", "blob": "BLOB"},
    "postgresql": {"serial": "BIGSERIAL", "big": "BIGINT", "double": "DOUBLE PRECISION", "blob": "BYTEA"},
}


def write_store_without_owners(location: Path | str) -> None:
    """A store with one run of the version before rows named their owner, on either database."""
    kind = "sqlite" if isinstance(location, Path) else "postgresql"
    url = f"sqlite:///{location}" if kind == "sqlite" else str(location).replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        for statement in TABLES_WITHOUT_OWNERS.format(**TYPES[kind]).split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)

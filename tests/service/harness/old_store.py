"""A store as version 0.1.0 made it: before `live`, `facts`, `apply_at_step`, `expires_at`, and the table of ranks."""

import sqlite3
from contextlib import closing
from pathlib import Path

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
    """A store with one run and one command of that version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(TABLES)

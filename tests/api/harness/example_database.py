"""The example run in a real PostgreSQL database, where it is put back as it was before each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from service.store.store import Store
from service.store.tables import metadata, records
from tests.api.harness.example_run import write_run

KEPT = "example"
"""The schema with the rows as they were at first."""
DISCONNECT_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class ExampleDatabase:
    """A database that holds the example run and a copy of its rows.

    To put them back takes a tenth of the time in which a database is made and its tables are looked at anew.
    """

    def __init__(self, url: str) -> None:
        """Write the run into the empty database at `url`."""
        self.url = url
        self._seconds = 0.0
        self._store = Store(url)
        with tempfile.TemporaryDirectory() as folder:
            source = write_run(Path(folder))
            _copy(source, self._store)
            source.close()
        with self._store.transaction() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {KEPT}")
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"CREATE TABLE {KEPT}.{table.name} AS TABLE {table.name}")

    def restored(self) -> Store:
        """Close what other connections there are and put the rows back; returns the store, which may be closed."""
        with self._store.transaction() as connection:
            connection.exec_driver_sql(";".join([DISCONNECT_OTHERS, *_putting_back(), *_setting_sequences()]))
            # A process knows by its time and sha256 a copy that it has read, and does not read it again.
            self._seconds += 1.0
            connection.execute(sa.update(records).values(time=records.c.time + self._seconds))
        return self._store


def _copy(source: Store, target: Store) -> None:
    """Copy the rows of all tables."""
    with source.read_snapshot() as old, target.transaction() as new:
        for table in metadata.sorted_tables:
            if rows := [row._asdict() for row in old.execute(sa.select(table))]:
                new.execute(sa.insert(table), rows)


def _putting_back() -> Iterator[str]:
    for table in metadata.sorted_tables:
        yield f"DELETE FROM {table.name}"
        yield f"INSERT INTO {table.name} SELECT * FROM {KEPT}.{table.name}"


def _setting_sequences() -> Iterator[str]:
    """Let the numbers that the database gives begin after those that there are."""
    for table in metadata.sorted_tables:
        if (column := table.autoincrement_column) is not None:
            sequence = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            yield f"SELECT setval({sequence}, coalesce(max({column.name}), 0) + 1, false) FROM {table.name}"

"""Adds the tables, columns and indexes that a database of an earlier version lacks; its data are kept.

A file that may only be read is not changed: there, temporary views have what it lacks.
"""

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from service.store.tables import metadata

_NAMES_IN_SQLITE = """
SELECT 'column', tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table'
UNION ALL SELECT 'index', tbl_name, name FROM sqlite_master WHERE type = 'index'
"""


def needs_upgrade(connection: sa.Connection) -> bool:
    """Return True if a table, a column or an index is missing."""
    if connection.dialect.name == "sqlite":
        # One query, because the API asks every file once, and SQLAlchemy's inspector takes thirty.
        present = {tuple(row) for row in connection.exec_driver_sql(_NAMES_IN_SQLITE)}
        return not present >= _REQUIRED_NAMES
    inspector = sa.inspect(connection)
    if not set(metadata.tables) <= set(inspector.get_table_names()):
        return True
    return bool(_missing_columns(inspector) or _missing_indexes(inspector))


_REQUIRED_NAMES = {
    *(("column", table.name, column.name) for table in metadata.sorted_tables for column in table.columns),
    *(("index", table.name, index.name) for table in metadata.sorted_tables for index in table.indexes),
}
"""Kind, table and name of everything that `needs_upgrade` looks for."""


def upgrade(connection: sa.Connection) -> None:
    """Add what is missing; new columns are nullable. The caller must exclude concurrent upgrades."""
    metadata.create_all(connection)
    inspector = sa.inspect(connection)
    quote_table = connection.dialect.identifier_preparer.format_table
    for column in _missing_columns(inspector):
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {quote_table(column.table)} ADD COLUMN {definition}")
    for index in _missing_indexes(inspector):
        index.create(connection)


def show_missing_as_null(connection: sqlite3.Connection) -> None:
    """Let this connection read a file of an earlier version that it cannot upgrade.

    A temporary view takes the place of each table that lacks a column, which is null there, or that is not there.
    """
    present = {(table, name) for kind, table, name in connection.execute(_NAMES_IN_SQLITE) if kind == "column"}
    if not present:
        return  # no store yet, or none any more: a query says so
    connection.execute("PRAGMA temp_store=MEMORY").close()
    for table in metadata.sorted_tables:
        missing = [column.name for column in table.columns if (table.name, column.name) not in present]
        if missing:
            nulls = ", ".join(f'NULL AS "{name}"' for name in missing)
            is_there = len(missing) < len(table.columns)
            source = f'*, {nulls} FROM main."{table.name}"' if is_there else f"{nulls} WHERE 0"
            connection.execute(f'CREATE TEMP VIEW "{table.name}" AS SELECT {source}').close()


def _missing_columns(inspector: sa.Inspector) -> list[sa.Column[Any]]:
    """Return the columns that existing tables lack."""
    missing = []
    for table in _present_tables(inspector):
        present = {item["name"] for item in inspector.get_columns(table.name)}
        missing += [column for column in table.columns if column.name not in present]
    return missing


def _missing_indexes(inspector: sa.Inspector) -> list[sa.Index]:
    """Return the indexes that existing tables lack."""
    missing = []
    for table in _present_tables(inspector):
        present = {item["name"] for item in inspector.get_indexes(table.name)}
        missing += [index for index in table.indexes if index.name not in present]
    return missing


def _present_tables(inspector: sa.Inspector) -> list[sa.Table]:
    names = set(inspector.get_table_names())
    return [table for table in metadata.sorted_tables if table.name in names]

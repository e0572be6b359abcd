"""Adds the tables, columns and indexes that a database of an earlier version lacks; its data are kept."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from service.store.tables import metadata


def needs_upgrade(connection: sa.Connection) -> bool:
    """Return True if a table, a column or an index is missing."""
    inspector = sa.inspect(connection)
    if not set(metadata.tables) <= set(inspector.get_table_names()):
        return True
    return bool(_missing_columns(inspector) or _missing_indexes(inspector))


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

"""What a database lacks of the tables of this version, and how it gets them: an earlier version's data stay."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from service.store.tables import metadata


def is_incomplete(connection: sa.Connection) -> bool:
    """Whether a table, a column or an index is missing."""
    inspector = sa.inspect(connection)
    if not set(metadata.tables) <= set(inspector.get_table_names()):
        return True
    return bool(_missing_columns(inspector) or _missing_indexes(inspector))


def complete(connection: sa.Connection) -> None:
    """Add what is missing; columns added later are nullable. Let nobody else do so in the meantime."""
    metadata.create_all(connection)
    inspector = sa.inspect(connection)
    quoted = connection.dialect.identifier_preparer.format_table
    for column in _missing_columns(inspector):
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {quoted(column.table)} ADD COLUMN {definition}")
    for index in _missing_indexes(inspector):
        index.create(connection)


def _missing_columns(inspector: sa.Inspector) -> list[sa.Column[Any]]:
    """The columns that tables in the database lack."""
    found = []
    for table in _present_tables(inspector):
        present = {item["name"] for item in inspector.get_columns(table.name)}
        found += [column for column in table.columns if column.name not in present]
    return found


def _missing_indexes(inspector: sa.Inspector) -> list[sa.Index]:
    """The indexes that tables in the database lack."""
    found = []
    for table in _present_tables(inspector):
        present = {item["name"] for item in inspector.get_indexes(table.name)}
        found += [index for index in table.indexes if index.name not in present]
    return found


def _present_tables(inspector: sa.Inspector) -> list[sa.Table]:
    names = set(inspector.get_table_names())
    return [table for table in metadata.sorted_tables if table.name in names]

"""Records as one Parquet file: a row each, columns of the keys' own types, written in row groups.

Needs pyarrow, which is imported only here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import IO, Any

from service.run.record import KEYS
from service.run.record_schema import FIELDS
from service.run.records.history import row_of
from service.run.records.saved_record import SavedRecord
from service.run.records.tables.lines import ACTIVITY_MAPS, ROW_COLUMNS, encoded, json_text

ROW_GROUP_RECORDS = 1000
"""About 10 MB of records: what is in memory at once."""
MAX_INTEGER = 2**63 - 1

_ARROW_TYPES = {"integer": "int64", "number": "float64", "boolean": "bool_"}
"""Of the kinds of values in `service/run/record_schema.py`; all others are text, lists and objects as JSON."""
_KINDS = {field.name: field.kind for field in FIELDS}


class NoPyarrowError(Exception):
    """Pyarrow is not installed."""


class ParquetTable:
    """Writes records as the rows of one file, with `layers` a column per layer in place of the two maps."""

    def __init__(self, layers: Sequence[str] = ()) -> None:
        """`layers` are the names of the columns of layers. Raises `NoPyarrowError`."""
        try:
            self._arrow = import_module("pyarrow")
            self._parquet = import_module("pyarrow.parquet")
        except ImportError:
            raise NoPyarrowError from None
        self._has_layers = bool(layers)
        names = [*ROW_COLUMNS, *(key for key in KEYS if not (layers and key in ACTIVITY_MAPS))]
        self._kinds = {**{name: _KINDS.get(name, "string") for name in names}, **dict.fromkeys(layers, "number")}
        self._schema = self._arrow.schema([(name, self._type(kind)) for name, kind in self._kinds.items()])
        self.left_out: set[str] = set()
        """Keys of records that have no column."""
        self.too_large: set[str] = set()
        """Columns with integers of more than 64 bits, which are null."""

    def _type(self, kind: str) -> Any:
        return getattr(self._arrow, _ARROW_TYPES.get(kind, "string"))()

    @property
    def column_count(self) -> int:
        """The number of columns."""
        return len(self._kinds)

    def write(self, records: Iterable[SavedRecord], file: IO[bytes]) -> int:
        """Write all records to a file, ROW_GROUP_RECORDS at a time; return their number. Raises `OSError`."""
        row_count = 0
        with self._parquet.ParquetWriter(file, self._schema, compression="zstd") as writer:
            for rows in _groups(self._rows(records)):
                columns = [self._column(name, kind, rows) for name, kind in self._kinds.items()]
                writer.write_table(self._arrow.table(columns, schema=self._schema))
                row_count += len(rows)
        return row_count

    def _rows(self, records: Iterable[SavedRecord]) -> Iterator[Mapping[str, Any]]:
        for record in records:
            self.left_out |= record.values.keys() - _KINDS.keys()
            yield row_of(record, layers=self._has_layers)

    def _column(self, name: str, kind: str, rows: Sequence[Mapping[str, Any]]) -> Any:
        values = [_cell(row.get(name), kind) for row in rows]
        if kind == "integer" and any(value is not None and abs(value) > MAX_INTEGER for value in values):
            self.too_large.add(name)
            values = [value if value is None or abs(value) <= MAX_INTEGER else None for value in values]
        return self._arrow.array(values, type=self._type(kind))


def _groups(rows: Iterator[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    while group := list(islice(rows, ROW_GROUP_RECORDS)):
        yield group


def _cell(value: Any, kind: str) -> Any:
    """Return a value as its column holds it."""
    if value is None or kind in ("integer", "boolean"):
        return value
    if kind == "number":
        return float(value)
    return encoded(value if isinstance(value, str) else json_text(value)).decode()

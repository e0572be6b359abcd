"""Records as lines of one flat table in CSV (RFC 4180), and as JSON lines."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from service.run.record import KEYS
from service.run.records.history import row_of
from service.run.records.saved_record import SavedRecord
from service.run.records.tables.plain_text import cell, compact

ROW_COLUMNS = ("run", "branch", "file", "origin", "remarks")
"""Columns before those of the keys."""
ACTIVITY_MAPS = ("layer_activity_map", "layer_activity_raw_map")

_QUOTED = re.compile('[",\r\n]')
"""A cell with one of these is put between quotes."""


class CsvTable:
    """The lines of a table: a column per key, with `layers` one per layer instead of the two maps."""

    def __init__(self, layers: Sequence[str] = ()) -> None:
        """`layers` are the names of the columns of layers; without them the maps are cells with JSON."""
        names = [key for key in KEYS if not (layers and key in ACTIVITY_MAPS)]
        self.columns: Sequence[str] = [*ROW_COLUMNS, *names, *layers]
        self._keys: Sequence[str] = [*names, *layers]
        self._has_layers = bool(layers)
        self._known = frozenset(KEYS)
        self.left_out: set[str] = set()
        """Keys of records that have no column."""

    def header(self) -> bytes:
        """Return the first line."""
        return encoded(csv_line(map(_quoted, self.columns)))

    def line(self, record: SavedRecord) -> tuple[bytes, bool]:
        """Return the line of a record, and whether it has a column for all of its values and none for layers."""
        is_whole = len(record.values) == len(KEYS)
        if not is_whole:
            self.left_out |= record.values.keys() - self._known
        row = row_of(record, layers=self._has_layers)
        own = [_quoted(cell(row[name])) for name in ROW_COLUMNS]
        return encoded(csv_line([*own, *map(csv_cell, map(row.get, self._keys))])), is_whole and not self._has_layers


def csv_line(cells: Iterable[str]) -> str:
    """Return cells as a line."""
    return f"{','.join(cells)}\r\n"


def csv_cell(value: Any) -> str:
    """Return a value between quotes where they are needed; the csv module takes five times as long for JSON."""
    kind = type(value)
    if value is None:
        return ""
    if kind is float or kind is int:
        return repr(value) if -math.inf < value < math.inf else ""
    if kind is bool:
        return "true" if value else "false"
    if kind is list or kind is dict:
        return _between_quotes(json_text(value)) if value else json_text(value)
    return _quoted(cell(value))


def _quoted(text: str) -> str:
    return _between_quotes(text) if _QUOTED.search(text) else text


def _between_quotes(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def json_text(value: Any) -> str:
    """Return a value as JSON on one line, null for numbers that are not finite."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # half a character, a whole number of more than 64 bits
        return compact(value)


def layer_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns of all layers that any row has."""
    prefixes = tuple(f"{name}." for name in ACTIVITY_MAPS)
    return list(dict.fromkeys(key for row in rows for key in row if key.startswith(prefixes)))


def json_line(record: SavedRecord) -> tuple[bytes, bool]:
    """Return a record as JSON on one line, with the names of a row; True, since the record alone decides it."""
    return encoded(f"{json_text(row_of(record))}\n"), True


def encoded(text: str) -> bytes:
    """Return text as UTF-8; half a character, which only a foreign file has, becomes an escape."""
    return text.encode("utf-8", "backslashreplace")

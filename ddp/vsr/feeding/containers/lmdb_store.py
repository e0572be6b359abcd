"""PNG files in LMDB databases, one for each kind; the package `lmdb` is an optional extra.

A database is opened by the process that reads it, never inherited, because LMDB does not survive a fork. A file that is
shorter than its own header says is refused, because reading beyond its end would kill the process.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ddp.vsr.feeding.containers.store import ContentStore, Kind
from ddp.vsr.unreadable import Skipped, UnreadableFileError
from service.errors import DatasetError

SUFFIX = ".lmdb"
DATA_FILE = "data.mdb"
PNG = ".png"


class LmdbStore(ContentStore):
    """Files in `GT.lmdb` and `LR.lmdb` of a folder."""

    skipped: Sequence[Skipped] = ()

    def __init__(self, folder: Path) -> None:
        """Raises `DatasetError` if the package is missing, or one of the databases cannot be read."""
        self._paths: dict[Kind, Path] = {kind: folder / f"{kind}{SUFFIX}" for kind in ("GT", "LR")}
        for path in self._paths.values():
            _environment(path)

    def names(self, kind: Kind) -> set[str]:
        """Return the names of all keys, with `.png`."""
        with self._opened_database(kind).begin() as transaction, transaction.cursor() as cursor:
            return {_name_of(key) for key in cursor.iternext(keys=True, values=False)}

    def part(self, kind: Kind, name: str, first: int, count: int | None) -> bytes:
        """Return bytes of a value. Raises `UnreadableFileError`."""
        with self._opened_database(kind).begin(buffers=True) as transaction:
            value = _value_of(transaction, name)
            if value is None:
                raise UnreadableFileError("it is not in the database any more")
            return bytes(value[first : None if count is None else first + count])

    def size_in_bytes(self, kind: Kind, name: str) -> int:
        """Return the size of a value; -1 if it has vanished."""
        with self._opened_database(kind).begin(buffers=True) as transaction:
            value = _value_of(transaction, name)
            return -1 if value is None else len(value)

    def _opened_database(self, kind: Kind) -> Any:
        return _environment(self._paths[kind])


def _name_of(key: bytes) -> str:
    name = key.decode(errors="surrogateescape")
    return name if name.lower().endswith(PNG) else name + PNG


def _value_of(transaction: Any, name: str) -> Any:
    """Return the value of a name, whose key has the suffix or has it not."""
    value = transaction.get(os.fsencode(name.removesuffix(PNG)))
    return transaction.get(os.fsencode(name)) if value is None else value


_OPEN: dict[Path, Any] = {}
"""The databases that this process has open: LMDB allows each of them once."""


def _close_inherited() -> None:
    """Close what the parent of a fork had open; the parent keeps it."""
    for environment in _OPEN.values():
        environment.close()
    _OPEN.clear()


@lru_cache(maxsize=1)
def _close_in_forks() -> None:
    os.register_at_fork(after_in_child=_close_inherited)


def _environment(path: Path) -> Any:
    """Return a database, open in this process. Raises `DatasetError`."""
    _close_in_forks()
    path = path.resolve()
    if path not in _OPEN:
        _OPEN[path] = _opened_environment(path)
    return _OPEN[path]


def _opened_environment(path: Path) -> Any:
    lmdb = lmdb_package(path)
    try:
        size = (path / DATA_FILE).stat().st_size
        environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)
    except (OSError, lmdb.Error) as error:
        raise DatasetError(f"the LMDB database {path} cannot be opened ({reason_without_path(error)})") from error
    if not is_whole(environment.info(), environment.stat(), size):
        environment.close()
        raise DatasetError(f"the LMDB database {path} is cut off: its file has {size:,} bytes, too few; copy it again")
    return environment


def lmdb_package(path: Path) -> Any:
    """Return the package `lmdb`. Raises `DatasetError` if it is not installed."""
    try:
        import lmdb
    except ImportError:
        raise DatasetError(
            f"{path}: LMDB databases need the package lmdb, which is not installed; `pip install 'leitstand[lmdb]'` "
            "brings it"
        ) from None
    return lmdb


def is_whole(info: Mapping[str, int], stat: Mapping[str, int], size: int) -> bool:
    """Return whether a file of `size` bytes holds all pages that LMDB's own figures count."""
    return (info["last_pgno"] + 1) * stat["psize"] <= size


def reason_without_path(error: Exception) -> str:
    """Return the cause without the path, which LMDB puts in front."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rpartition(": ")[2] or type(error).__name__

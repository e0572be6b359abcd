"""Lines computed from the files of one folder, in an SQLite file of the user's cache directory.

Any failure (a damaged file, another program's, a full disk, a read-only or missing directory, a lock) ends the use of
the cache, not that of the records.
"""

import hashlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Protocol

from service.run.record import KEYS, SCHEMA_VERSION

APPLICATION_ID = 0x4C656974
"""Marks the SQLite files that are ours."""
FORMAT = 3
"""Raised whenever what is computed from a record changes."""
BUSY_SECONDS = 0.2
SETTLED_SECONDS = 2.0
"""A file may change again within this time without another stamp, so a newer one is not kept."""
MAX_BYTES = 2 * 1024**3
"""Of one folder's cache; what goes beyond is computed each time."""
UNUSED_SECONDS = 90 * 24 * 3600.0
"""A cache that was not used for so long is deleted."""
PAGE_FILES = 64
COMMIT_BYTES = 8 * 1024 * 1024

_TABLE = "CREATE TABLE IF NOT EXISTS lines (kind TEXT, name TEXT, stamp TEXT, line BLOB, PRIMARY KEY (kind, name))"
_FIND = "SELECT line FROM lines WHERE kind = ? AND name = ? AND stamp = ?"
_KEEP = "INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)"
_FORGET = "DELETE FROM lines WHERE kind = ? AND name = ?"


class CachedFile(Protocol):
    """A file whose line is wanted."""

    @property
    def folder(self) -> Path:
        """The folder that holds it."""

    @property
    def name(self) -> str:
        """Its name there."""

    @property
    def branch(self) -> str:
        """What tells it from files of the same name in other folders."""


Stamp = tuple[int, int, int, int]
"""What changes with a file: inode, times of modification and change in nanoseconds, bytes."""

STAMP_FORMAT = "Qqqq"

Compute = Callable[[int], tuple[bytes, bool] | None]


class LineCache:
    """Lines by kind and file name, each valid for one stamp of its file; `connection` is None where there is none.

    The lines of PAGE_FILES successive files are kept as one: they are found in a tenth of the time.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self._has_room = True
        self._is_empty = connection is not None and _is_empty(connection)
        self._waiting: list[tuple[str, str, str, bytes]] = []
        self._replaced: list[tuple[str, str]] = []

    def page(self, kind: str, files: Sequence[CachedFile], compute: Compute) -> list[bytes]:
        """Return the lines of at most PAGE_FILES files, or all of them in one: those of before, if none has changed.

        Otherwise `compute(index)` returns a file's line, and whether it may be kept, or None if it has no line.
        """
        if self._connection is None:
            return [found[0] for index in range(len(files)) if (found := compute(index))]
        stamps = _stamps_of(files)
        key = _page_key(files, stamps) if len(files) == PAGE_FILES else None
        if key is not None and (known_page := self._find(f"{kind} page", *key)) is not None:
            return [known_page]
        return self._computed(kind, files, stamps, compute, key)

    def _computed(
        self,
        kind: str,
        files: Sequence[CachedFile],
        stamps: Sequence[Stamp | None],
        compute: Compute,
        key: tuple[str, str] | None,
    ) -> list[bytes]:
        lines: list[bytes] = []
        new: list[tuple[str, str, str, bytes]] = []
        for index, (file, stamp) in enumerate(zip(files, stamps, strict=True)):
            name, text = f"{file.branch}/{file.name}", ".".join(map(str, stamp or ()))
            line = None if stamp is None else self._find(kind, name, text)
            if line is None:
                result = compute(index)
                if result is None:
                    continue
                line, may_keep = result
                if may_keep and stamp is not None and _is_settled(stamp):
                    new.append((kind, name, text, line))
                else:
                    key = None
            lines.append(line)
        if key is not None and len(lines) == len(files):
            new = [(f"{kind} page", *key, b"".join(lines))]
            self._replaced += [(kind, f"{file.branch}/{file.name}") for file in files]
        self._keep(new)
        return lines

    def _find(self, kind: str, name: str, stamp: str) -> bytes | None:
        if self._connection is None or self._is_empty:
            return None
        try:
            row = self._connection.execute(_FIND, (kind, name, stamp)).fetchone()
        except sqlite3.Error:
            self.abandon()
            return None
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def _keep(self, lines: Sequence[tuple[str, str, str, bytes]]) -> None:
        self._waiting += lines
        if sum(len(line[-1]) for line in self._waiting) > COMMIT_BYTES:
            self.write()

    def write(self) -> None:
        """Write the lines that are new."""
        if self._connection is not None and self._waiting and self._has_room:
            try:
                with self._connection:
                    self._connection.executemany(_KEEP, self._waiting)
                    self._connection.executemany(_FORGET, self._replaced)
                self._has_room = _size_bytes(self._connection) < MAX_BYTES
            except sqlite3.Error:
                self.abandon()
        self._waiting.clear()
        self._replaced.clear()

    def abandon(self) -> None:
        """Do without the cache from now on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Return True if there is no line: then none needs to be looked for, as in a first look at many records."""
    try:
        return connection.execute("SELECT 1 FROM lines LIMIT 1").fetchone() is None
    except sqlite3.Error:
        return False


def _stamps_of(files: Sequence[CachedFile]) -> list[Stamp | None]:
    """Return the stamp of each file, None for one that is gone. Thousands are asked for, so without a call for each."""
    stamps: list[Stamp | None] = []
    folder, prefix, stat = None, "", os.stat
    for file in files:
        if file.folder is not folder:
            folder, prefix = file.folder, f"{file.folder}/"
        try:
            found = stat(prefix + file.name)
        except OSError:
            stamps.append(None)
        else:
            stamps.append((found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size))
    return stamps


def _is_settled(stamp: Stamp) -> bool:
    """Whether a later change must change the stamp."""
    return time.time() - max(stamp[1], stamp[2]) / 1e9 > SETTLED_SECONDS


def _page_key(files: Sequence[CachedFile], stamps: Sequence[Stamp | None]) -> tuple[str, str] | None:
    """Return the name of a page, and its stamp; None if one of its files is gone."""
    if None in stamps:
        return None
    names = "\n".join([f"{file.branch}/{file.name}" for file in files])
    digest = hashlib.blake2b(os.fsencode(names), digest_size=20)
    digest.update(_packed(stamps))
    return f"{files[0].branch}/{files[0].name}", digest.hexdigest()


def _packed(stamps: Sequence[Stamp | None]) -> bytes:
    """Return the bytes of stamps: to write them as text would take five times as long."""
    numbers = list(chain.from_iterable(filter(None, stamps)))
    try:
        return struct.pack(f"<{STAMP_FORMAT * len(stamps)}", *numbers)
    except struct.error:  # a time beyond the year 2262
        return repr(numbers).encode()


@contextmanager
def open_cache(home: Path | None, folder: Path) -> Iterator[LineCache]:
    """Open the cache of a folder below the cache directory `home`; without `home`, or where it fails, an empty one."""
    cache = LineCache(None if home is None else _connection(home, folder))
    try:
        yield cache
    finally:
        cache.write()
        cache.abandon()


def _connection(home: Path, folder: Path) -> sqlite3.Connection | None:
    """Open or make the file of a folder; one that is damaged, or of another version, is made anew. None if it fails."""
    path = home / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}.db"
    try:
        if not path.exists():
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_unused(home)
        connection = _opened(path)
        if connection is None:
            path.unlink(missing_ok=True)
            connection = _opened(path)
        else:
            os.utime(path)
    except (OSError, sqlite3.Error):
        return None
    return connection


def _opened(path: Path) -> sqlite3.Connection | None:
    """Open a file and make its table; None if it is damaged, or not of this version."""
    is_new = not path.exists()
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        if is_new:
            connection.execute("PRAGMA page_size = 16384")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_version()}")
            path.chmod(0o600)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION_ID, _version()):
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute(_TABLE)
            return connection
    except sqlite3.OperationalError:  # locked, read-only, no room: the file may be sound
        connection.close()
        raise
    except sqlite3.DatabaseError:
        pass
    connection.close()
    return None


def _version() -> int:
    """Return a number that differs between versions that compute other lines."""
    text = f"{FORMAT} {SCHEMA_VERSION} {KEYS}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3])


def _size_bytes(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_bytes)


def _remove_unused(home: Path) -> None:
    """Delete caches that were not used for long, such as those of folders that are gone."""
    for path in home.glob("*.db"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > UNUSED_SECONDS:
                path.unlink()

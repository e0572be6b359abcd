"""Faults of the places where a run is kept: its disk, its folders, its store, its newest state, its lock."""

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from service.run.record import list_records
from service.store.tables import metadata
from tests.faults.deeds import Kill, kill_all
from tests.faults.ordeal import Ordeal
from tests.service.harness.locked import locked

DISK = ("-t", "tmpfs", "-o", "size=64m,nr_inodes=4000")
LASTING_STEPS = 24


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Make a folder a disk of its own, where this user may mount."""
    folder.mkdir()
    is_mounted = can_mount() and subprocess.run(["mount", *DISK, "none", folder], check=False).returncode == 0
    try:
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def can_mount() -> bool:
    """Whether this user may mount."""
    return os.geteuid() == 0


@dataclass(frozen=True)
class FillDisk:
    """No room, or no inodes, on the disk of the run directory, which must be a small one."""

    seconds: float
    inodes: bool = False

    def happen(self, ordeal: Ordeal) -> bool:
        """Fill the disk, let the training go on, and make room again."""
        ballast = ordeal.training.folder.parent / "ballast"
        ballast.mkdir()
        (fill_inodes if self.inodes else fill_bytes)(ballast)
        ordeal.ask()
        ordeal.advance_for(self.seconds, LASTING_STEPS)
        shutil.rmtree(ballast)
        return True


def fill_bytes(folder: Path) -> None:
    """Write until there is no room for another byte."""
    with (folder / "bytes").open("wb", buffering=0) as file, suppress_full():
        while True:
            file.write(bytes(4096))


def fill_inodes(folder: Path) -> None:
    """Make files until no other can be made."""
    with suppress_full():
        for number in range(10**6):
            (folder / str(number)).touch()


@contextmanager
def suppress_full() -> Iterator[None]:
    """Pass over the error of a full disk; raise every other one."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@dataclass(frozen=True)
class LockStore:
    """Somebody else holds the write lock of the SQLite store."""

    seconds: float

    def happen(self, ordeal: Ordeal) -> bool:
        """Hold it while the training goes on."""
        with locked(ordeal.root / "leitstand.db"):
            ordeal.advance_for(self.seconds, LASTING_STEPS)
        return True


class LoseStore:
    """The files of the SQLite store deleted under the trainer."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Delete them."""
        for path in ordeal.root.glob("leitstand.db*"):
            path.unlink(missing_ok=True)
        return True


class EmptyStore:
    """All rows of all tables deleted."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Delete them in one transaction."""
        with closing(ordeal.training.store()) as store, store.transaction() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(sa.delete(table))
        return True


class RestoreStore:
    """A backup of some steps ago put in the place of the SQLite store, through SQLite's own restoring."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Make a backup, let the training go on, and restore it."""
        backup = ordeal.training.folder / "backup.db"
        copy_database(ordeal.root / "leitstand.db", backup)
        ordeal.ask()
        ordeal.advance_for(1.0, LASTING_STEPS)
        copy_database(backup, ordeal.root / "leitstand.db")
        return True


def copy_database(source: Path, target: Path) -> None:
    """Copy one SQLite database into another, also while both are used."""
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target, timeout=30)) as writing:
        reading.backup(writing)


@dataclass(frozen=True)
class DamageNewestState:
    """The newest checkpoint damaged, and everything killed at once, so that the next start meets it."""

    file: str
    shortened: bool = False

    def happen(self, ordeal: Ordeal) -> bool:
        """Damage a file of it, kill, and start again."""
        ordeal.advance(lambda: len(list(self._states(ordeal))) > 1, "two checkpoints")
        newest = max(self._states(ordeal))
        content = bytearray((newest / self.file).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (newest / self.file).write_bytes(content[: len(content) // 2] if self.shortened else content)
        Kill(ranks=tuple(range(ordeal.options.ranks)), launcher=True, after_seconds=(0, 0)).happen(ordeal)
        return True

    def _states(self, ordeal: Ordeal) -> Iterator[Path]:
        return (path.parent for path in (ordeal.root / "checkpoints").glob("step_*/manifest.json"))


class MoveCheckpoints:
    """The folder of checkpoints moved away, and back some steps later beside what was saved meanwhile."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Move it, let the training go on, and put back what is not there again."""
        folder, away = ordeal.root / "checkpoints", ordeal.training.folder / "elsewhere"
        folder.rename(away)
        ordeal.advance_for(1.5, LASTING_STEPS)
        for path in away.iterdir():
            if not (folder / path.name).exists() and not path.is_symlink():
                folder.mkdir(exist_ok=True)
                path.rename(folder / path.name)
        shutil.rmtree(away)
        return True


class MoveRun:
    """The whole run directory moved away; later the run is ended, and what was in it put back beside the new files.

    So the manual says. The start after that copies the records of before into the new store.
    """

    def happen(self, ordeal: Ordeal) -> bool:
        """Move it, await the new one, end the run, put the old records back, and start again."""
        away = ordeal.training.folder / "elsewhere"
        ordeal.root.rename(away)
        saved = ordeal.root / "checkpoints" / "latest" / "manifest.json"
        ordeal.advance(saved.exists, "a checkpoint in a new directory")
        kill_all(ordeal)
        for _, path in list_records(away):
            if not (ordeal.root / path.name).exists():
                shutil.copy(path, ordeal.root / path.name)
        shutil.rmtree(away)
        ordeal.await_ranks()
        return True


class SecondTrainer:
    """Another training started in the same run directory: it must be refused, and disturb nothing."""

    def happen(self, ordeal: Ordeal) -> bool:
        """Start it and await its end."""
        other = ordeal.training.another()
        ordeal.wait(lambda: other.poll() is not None, "the refusal of a second trainer")
        if other.returncode == 0:
            ordeal.found.append("a second trainer was not refused")
        return True


@dataclass(frozen=True)
class DisturbServer:
    """PostgreSQL stopped and started again, killed and started again, or frozen for some seconds."""

    how: str
    seconds: float

    def happen(self, ordeal: Ordeal) -> bool:
        """Disturb the server, let the training go on, and let the server go on."""
        server = ordeal.server
        if server is None:
            return False
        {"stop": server.stop, "kill": server.kill, "freeze": server.freeze}[self.how]()
        ordeal.advance_for(self.seconds, LASTING_STEPS)
        server.start()
        return True

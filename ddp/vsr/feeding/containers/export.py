"""A patch set written once more, as LMDB databases or as tar shards: the same PNG files, byte for byte.

Made beside its place and renamed when it is whole. Never changes the set that it copies.
"""

import errno
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddp.vsr.feeding.containers.lmdb_store import PNG, SUFFIX, lmdb_package, reason_without_path
from ddp.vsr.feeding.containers.shard_store import ENDS
from ddp.vsr.feeding.containers.store import Kind
from ddp.vsr.patch_set import PatchSet
from ddp.vsr.unreadable import UnreadableFileError, printable_name
from service.errors import UserError
from service.run.building import building_folder, finish

SHARD_BYTES = 2**30
"""After which a shard is full: WebDataset's own default is 3 GB, object stores like 0.1 to 1."""
MAP_SLACK = 2**26
PAGE_BYTES = 4096
WRITES_AT_ONCE = 256
KINDS: tuple[Kind, ...] = ("GT", "LR")

OnPair = Callable[[int], object]


def export(sides: Sequence[PatchSet], target: Path, container: str, on_pair: OnPair) -> int:
    """Write the sides of a set as `lmdb` or `shards` to a new folder; return the number of pairs.

    Files beside the sides, such as `dataset.json`, are copied. `on_pair` gets the number of pairs done. Raises
    `OSError`, and `UserError` if there is something at `target`, a name does not fit, or a package is missing.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists: give a folder that does not, or remove it")
    if container == "lmdb":
        lmdb_package(target)  # before anything is made
    write = {"lmdb": _write_lmdb, "shards": _write_shards}[container]
    target.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with building_folder(target) as folder:
        for path in sorted(sides[0].folder.parent.iterdir()):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        for patches in sides:
            side = folder / patches.folder.name
            side.mkdir()
            for _ in write(patches, side):
                done += 1
                on_pair(done)
        finish(folder, target)
    return done


def _pairs(patches: PatchSet) -> Iterator[tuple[str, Mapping[Kind, bytes]]]:
    """Yield name and files of each pair that can be read."""
    for name in patches.names:
        try:
            yield name, {kind: patches.store.content(kind, name) for kind in KINDS}
        except UnreadableFileError:
            continue


def _write_lmdb(patches: PatchSet, folder: Path) -> Iterator[None]:
    """Write the databases that BasicSR, KAIR and mmagic read."""
    lmdb = lmdb_package(folder)
    try:
        writers = [_LmdbWriter(lmdb, folder / f"{kind}{SUFFIX}", patches, kind) for kind in KINDS]
        for name, files in _pairs(patches):
            for writer in writers:
                writer.put(name, files[writer.kind])
            yield
        for writer in writers:
            writer.close()
    except lmdb.Error as error:
        raise OSError(errno.EIO, reason_without_path(error), str(folder)) from error


class _LmdbWriter:
    """One database with its `meta_info.txt`: a line for each picture, `NAME (height,width,channels) level`."""

    def __init__(self, lmdb: Any, path: Path, patches: PatchSet, kind: Kind) -> None:
        self.kind = kind
        self._path = path
        lines = patches.n_frames if kind == "LR" else patches.scale
        columns = 1 if kind == "LR" else patches.scale
        self._shapes = {
            name: f"({lines * height},{columns * width},3)"
            for name, (height, width) in zip(patches.names, patches.sizes, strict=True)
        }
        room = 2 * sum(_pages(patches.store.size_in_bytes(kind, name)) for name in patches.names) + MAP_SLACK
        self._database = lmdb.open(str(path), map_size=room)
        self._waiting: list[tuple[bytes, bytes]] = []
        self._lines: list[str] = []

    def put(self, name: str, content: bytes) -> None:
        """Add a file."""
        self._waiting.append((os.fsencode(name.removesuffix(PNG)), content))
        self._lines.append(f"{printable_name(name)} {self._shapes[name]} 1\n")
        if len(self._waiting) == WRITES_AT_ONCE:
            self._write()

    def close(self) -> None:
        """Write what is left."""
        self._write()
        self._database.sync(True)
        self._database.close()
        (self._path / "lock.mdb").unlink(missing_ok=True)
        (self._path / "meta_info.txt").write_text("".join(self._lines), encoding="utf-8")

    def _write(self) -> None:
        with self._database.begin(write=True) as transaction:
            for key, content in self._waiting:
                transaction.put(key, content)
        self._waiting.clear()


def _pages(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def _write_shards(patches: PatchSet, folder: Path) -> Iterator[None]:
    """Write shards of about SHARD_BYTES, in the order of the names."""
    dotted = next((name for name in patches.names if "." in name.removesuffix(PNG)), None)
    if dotted is not None:
        raise UserError(
            f"{patches.folder} holds {dotted}, and WebDataset takes a name to end at its first dot: rename it, or "
            "export to LMDB"
        )
    shard, number = None, 0
    try:
        for name, files in _pairs(patches):
            if shard is None or shard.offset > SHARD_BYTES:
                if shard is not None:
                    shard.close()
                shard = tarfile.open(folder / f"shard-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
                number += 1
            for kind, content in files.items():
                member = tarfile.TarInfo(name.removesuffix(PNG) + ENDS[kind])
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
                shard.members.clear()  # type: ignore[attr-defined]  # which it would keep for ever
            yield
    finally:
        if shard is not None:
            shard.close()

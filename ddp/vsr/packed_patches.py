"""A patch set's training pairs in one file of plain pixels: any of them is one read, and nothing is decoded.

    Patches/packed.pixels   8 bytes: MAGIC; 8 bytes: length of the header, little endian
                            header, JSON: fingerprint of the PNG files, offset of each pair, -1 if it could not be read
                            from a multiple of PAGE_BYTES on, each pair: LR (T, 3, h, w), then GT (3, H, W), uint8

A copy beside the PNG files, which stay what a set is. All processes of a machine share it in the kernel's cache.

Legend: T = frames; h, w = LR size of one frame; H, W = GT size; s = scale, H = s h, W = s w.
"""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from typing_extensions import Buffer

from ddp.vsr.patch_set import CorruptImageError, PatchSet
from service.atomic_files import TEMPORARY_PREFIX, sync_folder
from service.errors import plain_reason

PACKED_FILE = "packed.pixels"
MAGIC = b"LEITPK01"
LENGTH_BYTES = 8
PAGE_BYTES = 4096
ABSENT = -1


class StalePackError(Exception):
    """A packed file cannot be used; the message is the reason, without the file's name."""


class PackedPatches:
    """The pairs of a packed file by index, as a `PatchSet` has them; used by one thread."""

    def __init__(self, patches: PatchSet) -> None:
        """Open the file of a patch set. Raises `OSError`, and `StalePackError` if it is of other PNG files."""
        self._patches = patches
        self._path = patches.folder / PACKED_FILE
        self._offsets, self._first = _checked_header(self._path, patches)
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs, which opens the file itself."""
        return {**self.__dict__, "_descriptor": None}

    def __del__(self) -> None:
        descriptor: int | None = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8. Raises `CorruptImageError`, as the PNG files do."""
        if self._offsets[index] == ABSENT:
            return self._patches.read(index)
        try:
            pair = self._bytes_of(index)
        except OSError as error:
            raise CorruptImageError(f"{PACKED_FILE}, pair {self._patches.names[index]}", plain_reason(error)) from error
        (h, w), n_frames, scale = self._patches.sizes[index], self._patches.n_frames, self._patches.scale
        lr_bytes = n_frames * 3 * h * w
        return pair[:lr_bytes].view(n_frames, 3, h, w), pair[lr_bytes:].view(3, scale * h, scale * w)

    def _bytes_of(self, index: int) -> Tensor:
        """Return the bytes of a pair. Raises `OSError`; a mapped file would end the process instead."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        pair = torch.empty(_pair_bytes(self._patches, index), dtype=torch.uint8)
        view, done, offset = memoryview(cast("Buffer", pair.numpy())), 0, self._first + self._offsets[index]
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if not count:
                raise OSError(errno.EIO, "it is shorter than it was")
            done += count
        return pair


def packed_copy(patches: PatchSet) -> tuple[PackedPatches | None, list[str]]:
    """Return the packed copy of a set, None if there is none that can be used, and sentences about it."""
    try:
        return PackedPatches(patches), [f"Training pairs are read from {patches.folder / PACKED_FILE}."]
    except FileNotFoundError:
        return None, []
    except (OSError, StalePackError) as error:
        reason = plain_reason(error)
        return None, [f"{patches.folder / PACKED_FILE} is not used ({reason}): remove it, or run `leitstand pack`."]


def write_packed(patches: PatchSet, on_pair: Callable[[int], object]) -> int:
    """Pack the pairs of a set into one file, atomically; return how many there are in it.

    `on_pair` gets the number of pairs done. Raises `OSError`, and then leaves nothing.
    """
    path = patches.folder / PACKED_FILE
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{PACKED_FILE}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            count = _write_pairs(file, patches, on_pair)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return count


def _write_pairs(file: Any, patches: PatchSet, on_pair: Callable[[int], object]) -> int:
    total_bytes = sum(_pair_bytes(patches, index) for index in range(len(patches)))
    # Room for the largest offsets: the header comes first, but is known last.
    room = _start_of_pixels(_header(patches, [total_bytes] * len(patches)))
    file.seek(room)
    offsets: list[int] = []
    position = 0
    for index in range(len(patches)):
        try:
            lr, gt = patches.read(index)
        except CorruptImageError:
            offsets.append(ABSENT)
        else:
            offsets.append(position)
            position += file.write(lr.numpy().tobytes()) + file.write(gt.numpy().tobytes())
        on_pair(index + 1)
    header = _header(patches, offsets)
    header += b" " * (room - LENGTH_BYTES - len(MAGIC) - len(header))
    file.seek(0)
    file.write(MAGIC + len(header).to_bytes(LENGTH_BYTES, "little") + header)
    return sum(offset != ABSENT for offset in offsets)


def _header(patches: PatchSet, offsets: list[int]) -> bytes:
    return json.dumps({"fingerprint": patches.fingerprint, "offsets": offsets}).encode()


def _start_of_pixels(header: bytes) -> int:
    return -(-(len(MAGIC) + LENGTH_BYTES + len(header)) // PAGE_BYTES) * PAGE_BYTES


def _pair_bytes(patches: PatchSet, index: int) -> int:
    h, w = patches.sizes[index]
    return 3 * h * w * (patches.n_frames + patches.scale**2)


def _checked_header(path: Path, patches: PatchSet) -> tuple[list[int], int]:
    """Return the offset of each pair, and where the pixels begin. Raises `OSError` and `StalePackError`."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            raise StalePackError("it is no packed file")
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        text = file.read(min(length, size))
    try:
        header = json.loads(text)
        offsets = [int(offset) for offset in header["offsets"]]
        is_of_these = header["fingerprint"] == patches.fingerprint and len(offsets) == len(patches)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StalePackError("its header is damaged") from error
    if not is_of_these:
        raise StalePackError("the PNG files are others now")
    first = len(MAGIC) + LENGTH_BYTES + length
    ends = [offset + _pair_bytes(patches, index) for index, offset in enumerate(offsets) if offset != ABSENT]
    if first + max(ends, default=0) > size or min(offsets) < ABSENT:
        raise StalePackError("it is cut off")
    return offsets, first

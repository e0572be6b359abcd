"""Format of one saved state: data and manifest, written with verification, loaded without executing any code in it.

state.pt        tensors and plain values only, loaded with `weights_only`
manifest.json   format, step, reason, sha256 of state.pt; written last
"""

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import FileIO
from pathlib import Path
from typing import IO, Any, cast

import torch

from service import __version__
from service.atomic_files import CHUNK_BYTES, read_small_file, sha256_of, write_atomically
from service.errors import RunDirectoryError, plain_reason

FORMAT_VERSION = 2
STATE_FILE = "state.pt"
MANIFEST_FILE = "manifest.json"

WRITES_PER_PAUSE = 50
"""Writes of torch, about five for each tensor, that take the interpreter for half a millisecond or so."""

_NAME = re.compile(r"step_([0-9]{7,18})")


class Reason(StrEnum):
    """Reason for which a state was saved."""

    SCHEDULE = "schedule"
    BEST = "best"
    COMMAND = "command"
    LEAVE = "leave"
    FINAL = "final"


LAST_REASONS = frozenset({Reason.LEAVE, Reason.FINAL})
"""Reasons of a state that is a run's last: no step follows it."""


class UnusableError(Exception):
    """A saved state cannot be used; the message completes the sentence "cannot be used: …"."""


def checkpoint_name(step: int) -> str:
    """Return the name of a step's checkpoint, such as `step_0000500`."""
    return f"step_{step:07d}"


def step_in(name: str) -> int | None:
    """Return the step in the name of a checkpoint; None for every other name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match and checkpoint_name(int(match[1])) == name else None


@dataclass(frozen=True)
class SavedState:
    """A verified checkpoint."""

    step: int
    folder: Path

    def size_bytes(self) -> int:
        """Return the size of the state's file in bytes. Raises `OSError`."""
        return (self.folder / STATE_FILE).stat().st_size


@dataclass(frozen=True)
class LoadedState:
    """A verified checkpoint and its state, on the CPU."""

    saved: SavedState
    state: dict[str, Any]


Kinds = frozenset[tuple[Any, ...]]
"""The types of all values in a state. Whether torch can load a state again depends on nothing else in it."""


def write_state(
    folder: Path,
    step: int,
    state: dict[str, Any],
    *,
    reason: Reason,
    is_best: bool,
    loadable: set[Kinds] | None = None,
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Write a state into an empty folder, sync it, read it back and compare, then write its manifest.

    The first state of each of `loadable`, which is added to, is also loaded: that takes the interpreter, for which the
    training thread waits. So does writing many tensors: `pause` is called after every WRITES_PER_PAUSE.

    Raises `OSError`, and `TypeError` if the state contains values that cannot be loaded again.
    """
    path, began = folder / STATE_FILE, time.monotonic()
    size, sha256 = _write_bytes(path, state, pause)
    if sha256_of(path) != sha256:
        raise OSError(errno.EIO, "what was read back is not what was written", str(path))
    _require_loadable(path, step, state, set() if loadable is None else loadable)
    manifest = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "reason": reason,
        "is_best": is_best,
        "saved_at": time.time(),
        "write_seconds": round(time.monotonic() - began, 3),
        "leitstand_version": __version__,
        "torch_version": str(torch.__version__),
        "size_bytes": size,
        "sha256": sha256,
    }
    write_atomically(folder / MANIFEST_FILE, json.dumps(manifest, indent=2).encode() + b"\n")


def _require_loadable(path: Path, step: int, state: dict[str, Any], loadable: set[Kinds]) -> None:
    kinds = frozenset(_kinds(state))
    if kinds in loadable:
        return
    try:
        _load_tensors(path, mmap=True)  # maps the tensors without reading them
    except UnusableError as error:
        raise TypeError(f"the state of step {step} could not be loaded again: {error}") from error
    loadable.add(kinds)


def _kinds(state: Any) -> set[tuple[Any, ...]]:
    """Return the types in nested containers, of a tensor also what it consists of."""
    found: set[tuple[Any, ...]] = set()
    waiting = [state]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            found.add((type(value), value.dtype, value.layout, value.device.type))
            continue
        found.add((type(value),))
        if isinstance(value, Mapping):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
    return found


class _HashingFile:
    """File that torch writes into: buffers small writes, computes the SHA-256, pauses, keeps its `OSError`."""

    def __init__(self, file: FileIO, pause: Callable[[], None]) -> None:
        self._file = file
        self._pause = pause
        self._writes = 0
        self._buffer = bytearray()
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.problem: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        self._writes += 1
        if self._writes % WRITES_PER_PAUSE == 0:
            self._pause()
        if len(content) >= CHUNK_BYTES:
            self.flush()
            self._put(content)
        else:
            self._buffer += content
            if len(self._buffer) >= CHUNK_BYTES:
                self.flush()
        return len(content)

    def flush(self) -> None:
        self._put(self._buffer)
        self._buffer = bytearray()

    def _put(self, content: bytes | bytearray | memoryview) -> None:
        remaining = memoryview(content)
        while remaining:
            try:
                written = self._file.write(remaining)
            except OSError as error:
                self.problem = error
                raise
            self.sha256.update(remaining[:written])
            self.size += written
            remaining = remaining[written:]


def _write_bytes(path: Path, state: dict[str, Any], pause: Callable[[], None]) -> tuple[int, str]:
    """Write and sync; return size in bytes and SHA-256. Raises the `OSError` that torch hides behind `RuntimeError`."""
    with FileIO(path, "w") as file:
        target = _HashingFile(file, pause)
        try:
            torch.save(state, cast("IO[bytes]", target))
        except RuntimeError:
            if target.problem is None:
                raise
        if target.problem is not None:
            raise target.problem
        target.flush()
        os.fsync(file.fileno())
        return target.size, target.sha256.hexdigest()


def verify(folder: Path) -> str | None:
    """Return why a saved state cannot be used, or None if its data match its manifest. Loads nothing."""
    try:
        check(folder)
    except UnusableError as error:
        return str(error)
    return None


def check(folder: Path) -> None:
    """Raise `UnusableError` unless the data match the manifest."""
    manifest = _read_manifest(folder)
    if manifest.get("step") != step_in(folder.name):
        raise UnusableError(f"its manifest says step {manifest.get('step')}")
    try:
        sha256 = sha256_of(folder / STATE_FILE)
    except OSError as error:
        raise UnusableError(f"{STATE_FILE}: {error.strerror}") from error
    if sha256 != manifest.get("sha256"):
        raise UnusableError(f"{STATE_FILE} is not what its manifest says")


def load(saved: SavedState) -> LoadedState:
    """Verify and load a state. Raises `UnusableError`."""
    check(saved.folder)
    return LoadedState(saved, _load_tensors(saved.folder / STATE_FILE))


def shape_in(folder: Path) -> dict[str, Any]:
    """Return the settings of the network that a state is for; verifies nothing, reads no tensor.

    Raises `UnusableError`.
    """
    _read_manifest(folder)
    shape: dict[str, Any] = _load_tensors(folder / STATE_FILE, mmap=True).get("shape", {})
    return shape


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(read_small_file(folder / MANIFEST_FILE))
    except OSError as error:
        raise UnusableError(f"{MANIFEST_FILE}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"{MANIFEST_FILE} is damaged") from error
    if not isinstance(manifest, dict):
        raise UnusableError(f"{MANIFEST_FILE} is damaged")
    if manifest.get("format_version") != FORMAT_VERSION:
        found = manifest.get("format_version")
        raise UnusableError(f"it has format {found}, this version reads format {FORMAT_VERSION}")
    return manifest


def manifest_if_usable(folder: Path) -> dict[str, Any]:
    """Return the manifest, or an empty one if it is missing, damaged, or of another format."""
    try:
        return _read_manifest(folder)
    except UnusableError:
        return {}


def load_state(saved: SavedState) -> dict[str, Any]:
    """Load a state to the CPU without verifying it again. Raises `RunDirectoryError`."""
    try:
        return _load_tensors(saved.folder / STATE_FILE)
    except UnusableError as error:
        name = saved.folder.name
        raise RunDirectoryError(f"Checkpoint {name} cannot be used: {error}; choose another one.") from error


def _load_tensors(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        # Untrusted bytes: torch raises many types, from EOFError to errors of its zip reader.
        raise UnusableError(f"{path.name} cannot be loaded ({plain_reason(error)})") from error
    if not isinstance(state, dict):
        raise UnusableError(f"{path.name} holds no state but a {type(state).__name__}")
    return state

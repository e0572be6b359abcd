"""Faults at the file calls and the clock of whole programs: the page that `shim.c` reads, and the shim itself.

A program that is started with the environment of `FaultPage.environment` has the shim between itself and libc, and so
has everything that it starts. What fails is said through the page, at any time, for all of them.
"""

import errno
import mmap
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from struct import Struct

SOURCE = Path(__file__).with_name("shim.c")
ANY_PROCESS, NO_RANK = -2, -1
ENDLESS = 2**31 - 1
_LAYOUT = Struct("<8iq256s")
_FIRED, _SHIFT = Struct("<i"), Struct("<q")
_FIRED_AT, _SHIFT_AT = 7 * 4, 8 * 4


class Operation(IntFlag):
    """Calls that change files."""

    OPEN = 1
    WRITE = 2
    SYNC = 4
    RENAME = 8
    LINK = 16
    UNLINK = 32
    MKDIR = 64
    TRUNCATE = 128


ALL_OPERATIONS = Operation(255)


class Action(IntEnum):
    """What happens at a call."""

    FAIL = 1
    KILL = 2
    TEAR = 3
    """Half of what should be written is, then the process is killed."""
    KILL_AFTER = 4
    WAIT = 5
    FREEZE = 6


@dataclass(frozen=True)
class CallFault:
    """What happens at which calls."""

    action: Action
    operations: Operation
    pattern: str
    """Of the file's path, as fnmatch has it; `*` matches a slash. A call with two paths has the new one."""
    rank: int = 0
    """Whose calls: a rank's, NO_RANK's or ANY_PROCESS's."""
    value: int = errno.ENOSPC
    """The errno of FAIL, the milliseconds of WAIT."""
    count: int = 1
    """How many calls meet with it."""


class FaultPage:
    """The page that all programs with the shim share."""

    def __init__(self, folder: Path) -> None:
        """Make the shim and an empty page in a folder."""
        self._path, self._shim = folder / "faults", compiled_shim(folder)
        self._path.write_bytes(bytes(_LAYOUT.size))
        with self._path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _LAYOUT.size)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program is started."""
        return {"LD_PRELOAD": str(self._shim), "FAULTS_PAGE": str(self._path)}

    def arm(self, fault: CallFault, passing: int = 0) -> None:
        """Let a fault happen, after so many of its calls have passed."""
        self.disarm()
        content = _LAYOUT.pack(
            0, fault.operations, fault.action, fault.value, fault.rank, passing, fault.count, 0,
            _SHIFT.unpack_from(self._page, _SHIFT_AT)[0], fault.pattern.encode(),
        )  # fmt: skip
        self._page[4:] = content[4:]
        self._page[:4] = _FIRED.pack(1)

    def disarm(self) -> None:
        """Let no call meet with anything any more; who waits goes on."""
        self._page[:4] = _FIRED.pack(0)

    @property
    def fired(self) -> int:
        """How many calls have met with the fault."""
        count: int = _FIRED.unpack_from(self._page, _FIRED_AT)[0]
        return count

    def set_clock(self, ahead_seconds: float) -> None:
        """Let every program's clock be ahead of this one's."""
        _SHIFT.pack_into(self._page, _SHIFT_AT, int(ahead_seconds * 1e9))


def compiled_shim(folder: Path) -> Path:
    """Compile `shim.c` into a folder."""
    shim, compiler = folder / "shim.so", shutil.which("gcc") or shutil.which("cc")
    assert compiler is not None
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", shim, SOURCE, "-ldl"], check=True)
    return shim


def missing() -> str | None:
    """Return why no shim can be made here, or None."""
    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
        return "only on Linux with 64 bits"
    return None if shutil.which("gcc") or shutil.which("cc") else "there is no C compiler (gcc)"

"""The folder in shared memory where ranks leave their state for the next start by the same launcher.

    /dev/shm/leitstand-<run id>-<namespace of process ids>.<process id of the launcher>/

The name says whose it is: a launcher removes what is left of its own ranks, and a start what is left of launchers that
are gone.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

LAUNCH = "TORCHRUN_LAUNCH"
"""Variable by which our launcher tells the ranks which launch this is; without it, their parent's process says so."""
INCIDENT = "TORCHRUN_INCIDENT"
"""Variable by which our launcher tells the ranks that it starts again, as JSON, why the ones before them ended."""
SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "leitstand-"
_NAME = re.compile(re.escape(_PREFIX) + r".+-(?P<namespace>[0-9]+)\.(?P<pid>[0-9]+)", re.DOTALL)


def launch_id(pid: int) -> str:
    """Return what tells this launch from every other one at the same time; `pid` is the launcher's process id."""
    return f"{_namespace()}.{pid}"


def states_folder(run_id: str, environment: Mapping[str, str]) -> Path | None:
    """Return the folder for the states of a run in this launch; None where there is no shared memory of this kind."""
    if sys.platform != "linux" or not SHARED_MEMORY.is_dir():
        return None
    return SHARED_MEMORY / f"{_PREFIX}{run_id}-{environment.get(LAUNCH) or launch_id(os.getppid())}"


def remove_of_launch(launch: str) -> None:
    """Remove what is left of a launch."""
    for path in _folders():
        if path.name.endswith(f"-{launch}"):
            shutil.rmtree(path, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove what is left of launches that have ended; of launchers in other containers nothing is known."""
    for path in _folders():
        match = _NAME.fullmatch(path.name)
        if match and match["namespace"] == str(_namespace()) and not Path("/proc", match["pid"]).exists():
            shutil.rmtree(path, ignore_errors=True)


def _folders() -> Iterator[Path]:
    """Return the folders of this user."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        for path in SHARED_MEMORY.glob(f"{_PREFIX}*"):
            if path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink():
                yield path


def _namespace() -> int:
    """Return the number of this process's namespace of process ids, 0 if it is not known."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0

"""A folder that the process may only read, also where root runs the tests: then as another user for the time of it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def readable_folder() -> Iterator[Path]:
    """A new folder that every user can reach, unlike those of pytest; removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="leitstand-read-only-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def only_reading(folder: Path) -> Iterator[None]:
    """Let this process only read the folder and what is in it: all its threads, so no other test may run meanwhile."""
    places = [folder, *folder.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for place in places:
            if place.exists():
                place.chmod(0o755 if place.is_dir() else 0o644)

"""What a process holds: memory, open files and threads, and the samples of them in a file."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.soak.collection import SIGNAL, blocks_of, can_be_asked

SETTLING_SECONDS = 1.0
"""What a process is given to collect its garbage in."""


class Sample(NamedTuple):
    """One process at one moment. Sizes are bytes; `pss` shares what several processes use, `uss` is its own alone.

    `blocks` are those of Python's own allocator, None where the process never answered.
    """

    seconds: float
    part: str
    pid: int
    pss: int
    uss: int
    rss: int
    files: int
    threads: int
    blocks: int | None


def look(parts: Mapping[str, psutil.Process], began: float, folder: Path) -> list[Sample]:
    """Let all processes collect, then measure each; those that end meanwhile are left out."""
    for process in parts.values():
        if can_be_asked(process.pid):
            with suppress(ProcessLookupError):
                os.kill(process.pid, SIGNAL)
    time.sleep(SETTLING_SECONDS)
    found = []
    for part, process in parts.items():
        with suppress(psutil.Error):
            memory = process.memory_full_info()
            found.append(
                Sample(
                    time.monotonic() - began, part, process.pid, memory.pss, memory.uss, memory.rss,
                    process.num_fds(), process.num_threads(), blocks_of(folder, process.pid),
                )
            )  # fmt: skip
    return found


def append(path: Path, samples: Iterable[Sample]) -> None:
    """Add samples to a file, one a line."""
    with path.open("a") as file:
        file.writelines(json.dumps(sample) + "\n" for sample in samples)


def read(path: Path) -> list[Sample]:
    """All samples of a file."""
    return [Sample(*json.loads(line)) for line in path.read_text().splitlines()]

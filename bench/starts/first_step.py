"""The default workload, which notes what its rank and the launcher have used once the first step is made.

`bench/starts/startup.py` lays a copy of this file beside each tree that it measures, so it takes nothing from them but
`ddp.vsr.workload`. FIRST_STEP names the folder of the notes; the rank then goes on.
"""

import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddp.vsr import workload


class NotingWorkload:
    """Asked for the second batch, the rank has made its first step: ACCUMULATION_STEPS must be 1."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def batches(self, share: Any) -> Iterator[Any]:
        for number, batch in enumerate(self._inner.batches(share)):
            if number == 1:
                note(share.rank)
            yield batch


def note(rank: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    ticks = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(") ")[2].split()[11:13]
    notes = {
        "rank": used.ru_utime + used.ru_stime,
        "launcher": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "rank_mib": used.ru_maxrss / 1024,
        "at": time.time(),
    }
    Path(os.environ["FIRST_STEP"], f"{rank}.json").write_text(json.dumps(notes))


def build(config: Any) -> NotingWorkload:
    return NotingWorkload(workload.build(config))

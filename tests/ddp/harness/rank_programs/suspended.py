"""A rank in one stage; once it was stopped and continued, prints what its watchdog and its heartbeat made of that."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from ddp.distributed.status_store import LocalStatusStore
from ddp.recording.heartbeat import Heartbeat
from ddp.recording.registration import OwnedRun
from ddp.watchdog.stages import Stage, StageMarker
from ddp.watchdog.stall_detection import Stall
from ddp.watchdog.watchdog import RankStatus, Watchdog
from service.run import active_time
from service.run.active_time import STOPPED_SECONDS


class Row:
    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def update(self, **values: Any) -> None:
        self.values = values


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    row, stalls, reports = Row(), list[Stall](), list[Sequence[RankStatus]]()
    heartbeat = Heartbeat(cast(OwnedRun, row), dict)
    reported = threading.Event()
    marker = StageMarker()
    watchdog = Watchdog(
        marker, LocalStatusStore(), (0, "gpu-07", "cpu"), lambda: STOPPED_SECONDS,
        lambda statuses: (reports.append(statuses), reported.set()), stalls.append, interval_seconds=0.001,
    )  # fmt: skip
    watchdog.start()
    marker.enter(Stage.FORWARD, step=1)
    heartbeat.mark_progress()
    before = time.monotonic()  # it may be stopped right after the next line
    say("begun")
    while time.monotonic() < before + STOPPED_SECONDS:  # until the time in which this was stopped
        before = time.monotonic()
        time.sleep(0.02)
    heartbeat.send_if_due(time.monotonic(), step=1)
    for _ in range(3):
        reported.clear()
        reported.wait()
    watchdog.close()
    seen = {
        "stalls": [stall.message for stall in stalls],
        "stage_seconds": max(statuses[0].stage_seconds for statuses in reports if statuses[0].stage is Stage.FORWARD),
        "progress_age_seconds": row.values["heartbeat_at"] - row.values["progress_at"],
        "stopped_seconds": active_time.stopped_seconds(),
    }
    say(json.dumps(seen))


with active_time.measuring():
    main()

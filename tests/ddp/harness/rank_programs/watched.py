"""Rank 1 of 2, making steps, its watchdog on the store at a port; leaves when its input ends. Started by a test."""

import select
import sys

from ddp.watchdog.stages import Stage, StageMarker
from ddp.watchdog.watchdog import Watchdog
from tests.ddp.harness.store_serving import store_board


def main() -> None:
    marker = StageMarker()
    status_store = store_board(int(sys.argv[1]), rank=1, size=2)
    watchdog = Watchdog(marker, status_store, (1, "gpu-07", "cuda:1"), lambda: 60.0, interval_seconds=0.05)
    watchdog.start()
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        marker.enter(Stage.FORWARD, step=512)
    watchdog.close()


main()

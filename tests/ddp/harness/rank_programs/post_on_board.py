"""Rank 1 hangs in a collective that rank 0 joins only once it has read rank 1's text. Started by torchrun in a test."""

import sys
import threading
import time

import torch

from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World


def main() -> None:
    world = World.join(rank_environment(), "cpu", threads=1)
    status_store = world.status_store()
    if world.is_main:
        while (texts := status_store.read_all())[1] is None:
            time.sleep(0.01)
        sys.stdout.write(f"READ {texts}\n")
    else:
        threading.Timer(0.2, lambda: status_store.publish("rank 1 hangs")).start()
    world.sum(torch.zeros(1))
    world.leave()


main()

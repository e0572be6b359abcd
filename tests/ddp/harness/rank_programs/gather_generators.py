"""Each rank sends items to rank 0 while others of its collectives run. Started by torchrun in a test."""

import random
import sys
import threading

import torch

from ddp.distributed.environment import rank_environment
from ddp.distributed.pending_gather import MAX_GATHERED_BYTES
from ddp.distributed.rng import rng_state, seed_rng
from ddp.distributed.world import World


def main() -> None:
    world = World.join(rank_environment(), "cpu", threads=1)
    seed_rng(world.rank)
    random.gauss(0, 1)
    pending = world.begin_gather(rng_state(world.device))
    other = world.begin_gather({"rank": world.rank, "text": "x" * 10 * world.rank})
    seed_rng(99)  # what is sent is the state of before
    world.sum(torch.ones(3))
    found: list[list[object]] = []
    thread = threading.Thread(target=lambda: found.extend([pending.result(), other.result()]))
    thread.start()
    world.sum(torch.ones(3))
    thread.join()
    states, items = found
    for rank, state in enumerate(states):
        seed_rng(rank)
        random.gauss(0, 1)
        expected = rng_state(world.device)
        assert torch.equal(state["torch"], expected["torch"])  # type: ignore[index]  # a dictionary
        assert state["python"] == expected["python"]  # type: ignore[index]
    try:
        world.begin_gather(b"x" * MAX_GATHERED_BYTES)
    except ValueError as error:
        sys.stdout.write(f"GATHERED {world.rank} {len(states)} {items} {error}\n")
    world.from_main(None)
    world.leave()


main()

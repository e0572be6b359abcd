"""Each rank sums a column of a matrix, and pictures of another layout on each rank. Started by torchrun in a test."""

import sys

import torch

from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World


def main() -> None:
    environment = rank_environment()
    world = World.join(environment, "cpu", threads=1)
    matrix = torch.arange(8.0).reshape(4, 2)
    world.sum(matrix[:, 0])
    layout = torch.channels_last if world.is_main else torch.contiguous_format
    picture = world.sum(torch.arange(8.0).reshape(1, 2, 2, 2).contiguous(memory_format=layout))
    sys.stdout.write(f"SUMS {environment.rank} {matrix.int().tolist()} {picture.flatten().int().tolist()}\n")
    world.leave()


main()

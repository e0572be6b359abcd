"""One part of the GPU benchmark in this process: `python -m bench.gpu` starts each in one of its own."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from bench.gpu import ceiling, checkpoint, feeding, graphs, ranks, syncs, throughput
from bench.gpu.context import SIZES, Context

PARTS: dict[str, Callable[[Context], None]] = {
    "ceiling": ceiling.measure_ceiling,
    **{f"trainer/{way}": throughput.of_way(way) for way in throughput.WAYS},
    "by hand": throughput.measure_bare,
    "original": throughput.measure_original,
    "graph": graphs.measure_graph,
    "syncs": syncs.measure_syncs,
    "data": feeding.measure_data_wait,
    "checkpoint": checkpoint.measure_checkpoint,
    "ranks": ranks.measure_ranks,
    "rank": ranks.be_a_rank,
}


def main() -> None:
    """Run one part; whatever fails in it ends this process with a trace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--size", choices=tuple(SIZES), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(1)
    context = Context(given.part, torch.device(given.device), SIZES[given.size], given.seconds, given.rows)
    PARTS[given.part](context)


if __name__ == "__main__":
    main()

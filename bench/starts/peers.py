"""From torchrun to the first step: Leitstand beside bare DDP, Accelerate and Lightning, two gloo ranks, in turn.

    python -m bench.starts.peers [--rounds 5]

`python -m bench.proof` makes the environment that this needs, and runs it. The same tiny network everywhere; Leitstand
reads a patch set, opens its store and starts its recorder, the others make one step on random numbers. Processor
seconds (user and system) of rank 0 and of the launcher until the first step is done, and seconds by the clock since the
launch.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.steps.blocks import load_text
from bench.steps.intervals import median_interval

SIZES = (4, 2, 5, 3)  # features, blocks, frames, scale, as of the other starts
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

Figures = dict[str, float]


def bare() -> None:
    """DDP by hand, as torch's documentation has it."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    network, lr = network_and_batch()
    model = DistributedDataParallel(network)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model(lr).square().mean().backward()
    optimizer.step()


def accelerate() -> None:
    """Accelerate's loop."""
    import torch

    library = import_module("accelerate")
    network, lr = network_and_batch()
    accelerator = library.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(network, torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True))
    accelerator.backward(model(lr).square().mean())
    optimizer.step()


def lightning() -> None:
    """Lightning's trainer, without checkpoints, bars and summaries."""
    import torch

    library: Any = import_module("lightning")
    network, lr = network_and_batch()

    class Module(library.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, _index: int) -> Any:
            return self.network(batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-4, fused=True)

    with tempfile.TemporaryDirectory() as folder:
        trainer = library.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_steps=1, default_root_dir=folder, logger=False,
            enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
            use_distributed_sampler=False,
        )  # fmt: skip
        # A plain list would be taken for several loaders.
        loader: Any = torch.utils.data.DataLoader(torch.stack([lr, lr]), batch_size=None)  # type: ignore[arg-type]
        trainer.fit(Module(), train_dataloaders=loader)


PEERS: dict[str, Callable[[], None]] = {"bare": bare, "accelerate": accelerate, "lightning": lightning}


def network_and_batch() -> tuple[Any, Any]:
    """Network and one batch of random frames, (2, 5, 3, 8, 8)."""
    import torch

    from ddp.vsr.networks.recurrent import VSR

    torch.set_num_threads(1)
    return VSR(*SIZES), torch.rand(2, 5, 3, 8, 8)


def make_first_step(entry: str) -> None:
    """On each rank: make a step, note what it took, and end."""
    PEERS[entry]()
    if os.environ["RANK"] == "0":
        used = resource.getrusage(resource.RUSAGE_SELF)
        ticks = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(") ")[2].split()[11:13]
        notes = {
            "rank": used.ru_utime + used.ru_stime,
            "launcher": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
            "seconds": time.time() - float(os.environ["LAUNCHED_AT"]),
            "rank_mib": used.ru_maxrss / 1024,
        }
        Path(os.environ["FIRST_STEP"], "0.json").write_text(json.dumps(notes))
    sys.stdout.flush()
    os._exit(0)  # what they do at their end is not measured


def start_peer(entry: str) -> Figures:
    """Launch two ranks of one entry."""
    with tempfile.TemporaryDirectory(prefix="leitstand-start-") as folder:
        environment = {
            **os.environ, "FIRST_STEP": folder, "LAUNCHED_AT": str(time.time()), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, *TORCHRUN, "-m", "bench.starts.peers", "--entry", entry]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        note = Path(folder, "0.json")
        if not note.exists():
            raise SystemExit(f"{entry} made no step:\n{done.stderr[-2000:]}")
        return dict(json.loads(note.read_text()))


def start_leitstand(dataset: Path, folder: Path) -> Figures:
    """Launch a whole training by Leitstand's own launcher."""
    from bench.starts.startup import HERE, Tree

    launched_at = time.time()
    tree = Tree(HERE, folder)
    found = tree.first_step(dataset, 2)
    return {
        "rank": found["rank 0 of 2"], "launcher": found["launcher of 2"], "rank_mib": found["rank 0 of 2, MiB"],
        "seconds": tree.first_step_at - launched_at,
    }  # fmt: skip


def compare(rounds: int) -> dict[str, list[Figures]]:
    """All entries in each round, another one first in each."""
    from bench.kills.campaign import write_dataset

    with tempfile.TemporaryDirectory(prefix="leitstand-starts-") as name:
        folder = Path(name)
        dataset = write_dataset(folder / "patches")
        starts: dict[str, Callable[[], Figures]] = {
            "leitstand": lambda: start_leitstand(dataset, folder),
            **{entry: lambda entry=entry: start_peer(entry) for entry in PEERS},  # type: ignore[misc]
        }
        found: dict[str, list[Figures]] = {entry: [] for entry in starts}
        names = list(starts)
        for entry in names:  # files into the cache, bytecode onto the disk
            starts[entry]()
        for number in range(rounds):
            first = number % len(names)
            for entry in names[first:] + names[:first]:
                found[entry].append(starts[entry]())
    return found


def describe(found: dict[str, list[Figures]]) -> str:
    """A line for each entry: medians with their intervals."""
    lines = [f"{len(found['bare'])} rounds; {load_text()}"]
    for entry, figures in found.items():
        rank, launcher, seconds = (
            median_interval([figure[what] for figure in figures]) for what in ("rank", "launcher", "seconds")
        )
        mib = statistics.median(figure["rank_mib"] for figure in figures)
        lines.append(
            f"{entry:11} rank 0 {rank.text()} s of processor, launcher {launcher.text()} s, "
            f"by the clock {seconds.text()} s, {mib:.0f} MiB"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and report, or be a rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entry", choices=tuple(PEERS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.entry:
        make_first_step(given.entry)
    sys.stdout.write(describe(compare(given.rounds)))


if __name__ == "__main__":
    main()

"""What the adaptive controller gives: the demonstration trained by the trainer itself, with and without, over seeds.

    python -m bench.pictures.controller FOLDER [--steps 3000] [--seeds 3] [--variants off,on] [--jobs 1]
        [--set KEY=VALUE …] [--also NAME=moving|still=FILE …]

All variants make the same steps on the same samples, which takes the same processor time; that is printed too. Scores
the last checkpoint on held-out clips as `bench.pictures.quality` does, whose FOLDER this shares. The validations of the
run see city alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import torch

from bench.pictures.held_out import HeldOut, Window, scores_of, windows_of
from bench.pictures.quality import DEMO, FRAMES, SCALE, bicubic, cell, held_out, make_patches, network_of, spread
from bench.steps.blocks import load_text
from service.run.record import list_records
from service.store.store import Store

SWITCHES = ("ADAPTIVE_LOSS_WEIGHTS", "ADAPTIVE_GRAD_CLIP", "ADAPTIVE_LR_BOOST")
VARIANTS: Mapping[str, tuple[bool, bool, bool]] = {
    "off": (False, False, False),
    "on": (True, True, True),
    "weights": (True, False, False),
    "clip": (False, True, False),
    "boost": (False, False, True),
}
"""Which of the three switches are on."""
Run = Mapping[str, Any]
Windows = Mapping[HeldOut, Sequence[Window]]


def main() -> None:
    """Fetch, prepare, train, score, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", default="off,on")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time, of one rank each")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--also", action="append", default=[], help="NAME=moving|still=FILE, one more held-out clip")
    given = parser.parse_args()
    windows = {clip: windows_of(clip, FRAMES, SCALE, "bicubic") for clip in held_out(given.folder, given.also)}
    make_patches(given.folder)
    names, settings = given.variants.split(","), (f"MAX_STEPS={given.steps}", *given.settings)
    with ThreadPoolExecutor(given.jobs) as pool:
        wanted = [(name, seed) for seed in range(given.seeds) for name in names]
        list(pool.map(lambda run: train(given.folder, run[0], run[1], settings), wanted))
    found = {name: [scored(given.folder, name, seed, windows) for seed in range(given.seeds)] for name in names}
    print_table(windows, found, f"{given.steps} steps, 1 rank; {load_text()}")


def root_of(folder: Path, name: str, seed: int) -> Path:
    """Return the run directory of a training."""
    return folder / "controller" / f"{name}-{seed}"


def train(folder: Path, name: str, seed: int, settings: Sequence[str]) -> None:
    """Train one variant with one seed, unless it is done; note its processor seconds, validations included."""
    root, switches = root_of(folder, name, seed), zip(SWITCHES, VARIANTS[name], strict=True)
    if (root / "bench.json").exists():
        return
    own = (f"SEED={seed}", f"DATA_ROOT={root}", f"DATASET_ROOT={folder / 'set'}", *settings)
    chosen = (*DEMO, *(f"{switch}={is_on}" for switch, is_on in switches), *own)
    options = [part for setting in chosen for part in ("--set", setting)]
    log = folder / "controller" / f"{name}-{seed}.txt"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as file:
        started = subprocess.Popen([sys.executable, "-m", "ddp", "--fresh", *options], stdout=file, stderr=file)
        _, status, used = os.wait4(started.pid, 0)
    if status:
        raise SystemExit(f"{root} failed: see {log}")
    (root / "bench.json").write_text(json.dumps({"seconds": used.ru_utime + used.ru_stime}))


def scored(folder: Path, name: str, seed: int, windows: Windows) -> Run:
    """Return what a training reached and what its controller did; kept in its run directory."""
    root = root_of(folder, name, seed)
    run = json.loads((root / "bench.json").read_text())
    missing = [clip for clip in windows if clip.name not in run]
    if missing:
        network = network_of(root / "checkpoints" / "latest")
        run |= {clip.name: list(scores_of(windows[clip], network, SCALE)) for clip in missing}
    run |= {"changes": changes_in(root), "course": course_of(root)}
    (root / "bench.json").write_text(json.dumps(run))
    return run


def changes_in(root: Path) -> dict[str, int]:
    """Return how often the controller changed what."""
    store = Store(root / "leitstand.db")
    row = store.runs.latest()
    assert row is not None
    return Counter(event.kind for event in store.events.find(row.id, 0, 100_000) if event.kind in {"weights", "boost"})


def course_of(root: Path) -> list[tuple[int, float, float, float]]:
    """Return step, PSNR of Y in dB, gradient share and learning rate of each validation."""
    records = [json.loads(path.read_text()) for _, path in list_records(root)]
    keys = ("step_current", "psnr_y_ki_db", "gradient_weight_current", "learning_rate_value")
    return [tuple(record[key] for key in keys) for record in records]


def print_table(windows: Windows, found: Mapping[str, Sequence[Run]], title: str) -> None:
    """Print means and deviations over the seeds, the differences from the first variant, and what was changed."""
    click.echo(f"{title}\n")
    click.echo("| controller | processor s | " + " | ".join(f"{clip.name} ({clip.camera})" for clip in windows) + " |")
    click.echo("|---" * (2 + len(windows)) + "|")
    plain = [scores_of(each, bicubic(), SCALE) for each in windows.values()]
    click.echo("| bicubic | – | " + " | ".join(f"{score.psnr_y_db:.2f} / {score.ssim:.4f}" for score in plain) + " |")
    first, *_ = found.values()
    for name, runs in found.items():
        seconds = f"{statistics.fmean(run['seconds'] for run in runs):.0f}"
        click.echo(
            f"| {name} | {seconds} | " + " | ".join(cell([run[clip.name] for run in runs]) for clip in windows) + " |"
        )
        if runs is not first:
            pairs = list(zip(runs, first, strict=True))
            gaps = [[run[clip.name][0] - other[clip.name][0] for run, other in pairs] for clip in windows]
            click.echo(f"| {name} − {next(iter(found))}, dB | | " + " | ".join(map(spread, gaps)) + " |")
    for name, runs in found.items():
        for seed, run in enumerate(runs):
            click.echo(f"\n{name}, seed {seed}: {run['changes']}; step, PSNR of Y, gradient share, learning rate:")
            click.echo(
                "; ".join(f"{step} {psnr:.2f} {share:.2f} {rate:.1e}" for step, psnr, share, rate in run["course"])
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

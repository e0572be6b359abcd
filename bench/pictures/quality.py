"""What the frames give: networks trained for equal processor time, on held-out clips, over several seeds.

    python -m bench.pictures.quality FOLDER [--seconds 60] [--seeds 3] [--ranks 2] [--networks single,aligned,recurrent]
        [--also NAME=moving|still=FILE …] [--jobs 1] [--crops FOLDER]

Trains on the clips of `make run` (CLIPS=small) with one recipe: plain L1, AdamW, cosine over the time, batch 4,
32 features, 10 blocks, bfloat16 where the CPU has it. Scores clips that are never trained on, frame by frame: PSNR of Y
and SSIM of RGB, as many pixels cropped as the scale. A clip's figure is the mean over its windows. FOLDER keeps what is
fetched and trained: the same command goes on with it. Prints a table of means and standard deviations over the seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from bench.pictures.crop_sheet import write_crops
from bench.pictures.held_out import HeldOut, Window, scores_of, starts_in, windows_of
from bench.steps.blocks import load_text
from ddp.inference.network import open_network
from ddp.vsr.networks.alignment.degradation import degradation_of
from ddp.vsr.networks.alignment.enlarging import BicubicEnlarging
from ddp.vsr.prepare.clips import fetch_set
from service.config.loader import DEMONSTRATION
from service.config.settings import RunConfig

SCALE, FRAMES, WINDOWS = 3, 5, 6
RECIPE = (
    "N_FEATS=32", "N_BLOCKS=10", "BATCH_SIZE=4", "PATCH_SIZE=32", "NUM_WORKERS=0", "PRECISION=auto",
    "L1_WEIGHT=1", "MS_WEIGHT=0", "GRAD_WEIGHT=0", "MAX_LR=1e-3", "MIN_LR=1e-5", "WARMUP_STEPS=50",
    "WEIGHT_DECAY=1e-4", "INITIAL_GRAD_CLIP=0.5",
)  # fmt: skip
# The seed project's recipe by its own defaults (losses, rates, decay, clip, batch, float32, no perceptual term), on a
# network, crops and a warm-up cut down to minutes: 128 features, 32 blocks, 180x180 pixels and 1,000 of 100,000 steps.
ORIGINAL = (
    "NETWORK=recurrent", *RECIPE, "PRECISION=float32", "ACCUMULATION_STEPS=1", "L1_WEIGHT=0.6", "MS_WEIGHT=0.2",
    "GRAD_WEIGHT=0.2", "WEIGHT_DECAY=1e-3", "INITIAL_GRAD_CLIP=1.5", "MAX_LR=1e-4", "MIN_LR=1e-6", "WARMUP_STEPS=5",
)  # fmt: skip
DEMO = tuple(f"{name}={value}" for name, value in tomllib.loads(DEMONSTRATION.read_text()).items())
"""What `make run` trains: its losses, among them the perceptual term, its clip and its schedule, here over the time."""
NETWORKS: Mapping[str, tuple[str, ...]] = {
    "single": ("NETWORK=single", "CHANNELS_LAST=true", *RECIPE),
    "aligned": ("NETWORK=aligned", "CHANNELS_LAST=true", *RECIPE),
    "recurrent": ("NETWORK=recurrent", *RECIPE),
    # What `make run` trained before: the same network with three loss terms, half the batch, float32.
    "demo before": ("NETWORK=recurrent", *RECIPE, "BATCH_SIZE=2", "PRECISION=float32", "L1_WEIGHT=0.6", "MS_WEIGHT=0.2",
                    "GRAD_WEIGHT=0.2", "WEIGHT_DECAY=1e-3", "INITIAL_GRAD_CLIP=1.5"),
    "original": ORIGINAL,
    # The same with ten times its rate, which is made for 100,000 steps, not for some hundred.
    "original quick": (*ORIGINAL, "MAX_LR=1e-3", "MIN_LR=1e-5"),
    "demo recurrent": (*DEMO, "NETWORK=recurrent", "BATCH_SIZE=2", "PRECISION=float32", "CHANNELS_LAST=false"),
    "demo single": (*DEMO, "NETWORK=single"),
    "demo": DEMO,
}  # fmt: skip


def main() -> None:
    """Fetch, prepare, train, score, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--networks", default="single,aligned,recurrent")
    parser.add_argument("--also", action="append", default=[], help="NAME=moving|still=FILE, one more held-out clip")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--crops", type=Path, help="where to write pictures to look at")
    given = parser.parse_args()
    clips = held_out(given.folder, given.also)
    make_patches(given.folder)
    names = given.networks.split(",")
    train_all(given.folder, names, given.seeds, given.seconds, given.ranks, given.jobs)
    windows = {clip: windows_of(clip, FRAMES, SCALE, "bicubic") for clip in clips}
    found = {name: runs_of(given.folder, name, given.seeds, given.seconds, given.ranks, windows) for name in names}
    print_table(windows, found, f"{given.seconds:g} processor s a rank, {given.ranks} ranks; {load_text()}")
    if given.crops:
        shown = {name: network_of(file_of(given.folder, name, 0, given.seconds, given.ranks)) for name in names}
        write_crops(given.crops, windows, {"bicubic": bicubic(), **shown})


def held_out(folder: Path, also: Iterable[str]) -> list[HeldOut]:
    """Fetch the clips; return those that are not trained on."""
    fetch_set("small", folder / "clips", click.echo)
    fetch_set("film", folder / "clips", click.echo)
    known = [
        ("city", "moving", folder / "clips/cityCC0.mpg"),
        ("face", "still", folder / "clips/WolfgangLanger_Pexels.mp4"),
    ]
    more = [(name, camera, Path(file)) for name, camera, file in (text.split("=", 2) for text in also)]
    return [HeldOut(name, camera, path, starts_in(path, WINDOWS, FRAMES)) for name, camera, path in known + more]


def make_patches(folder: Path) -> None:
    """Make the patch set of the training clips, once."""
    cut_patches(folder / "set", "CLIPS=small", "PATCH_COUNT=1500")


def cut_patches(dataset: Path, *settings: str) -> None:
    """Prepare a patch set by these settings, and pack it, unless it is there."""
    arguments = [part for setting in (f"DATASET_ROOT={dataset}", *settings) for part in ("--set", setting)]
    if not dataset.exists():
        for command in ("prepare", "pack"):
            subprocess.run([Path(sys.executable).with_name("leitstand"), command, *arguments], check=True)


def file_of(folder: Path, network: str, seed: int, seconds: float, ranks: int) -> Path:
    """Return where the weights of a training are."""
    return folder / f"{network.replace(' ', '-')}-{seconds:g}s-{ranks}r-{seed}.safetensors"


def train_all(folder: Path, names: Sequence[str], seeds: int, seconds: float, ranks: int, jobs: int) -> None:
    """Train what is not trained yet; the seeds in turn, so that what is done at any time can be compared."""
    with ThreadPoolExecutor(jobs) as pool:
        wanted = [(name, seed) for seed in range(seeds) for name in names]
        list(pool.map(lambda run: train_one(folder, run[0], run[1], seconds, ranks), wanted))


def train_one(folder: Path, name: str, seed: int, seconds: float, ranks: int) -> None:
    """Train one network with one seed, unless it is done."""
    target = file_of(folder, name, seed, seconds, ranks)
    if target.with_suffix(".json").exists():
        return
    settings = (*NETWORKS[name], f"SEED={seed}", f"DATASET_ROOT={folder / 'set'}")
    command = [sys.executable, "-m"]
    command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"] if ranks > 1 else []
    command += ["bench.pictures.timed_training", "--seconds", str(seconds), "--to", str(target)]
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    target.with_suffix(".json").write_text(done.stdout.strip().splitlines()[-1] + "\n")


def network_of(file: Path) -> nn.Module:
    """Return a trained network."""
    return open_network(RunConfig(), file.parent, file).module


def bicubic() -> Callable[[Tensor], Tensor]:
    """Return the enlargement without a network."""
    enlarging = BicubicEnlarging(degradation_of("bicubic", SCALE))
    return lambda lr: enlarging(lr[:, lr.shape[1] // 2])


def runs_of(
    folder: Path, name: str, seeds: int, seconds: float, ranks: int, windows: Mapping[HeldOut, Sequence[Window]]
) -> list[dict[str, float]]:
    """Return what each seed reached: steps, and the scores of each clip; kept beside the weights."""
    runs = []
    for seed in range(seeds):
        file = file_of(folder, name, seed, seconds, ranks)
        run = json.loads(file.with_suffix(".json").read_text())
        missing = [clip for clip in windows if clip.name not in run]
        if missing:
            network = network_of(file)
            run |= {clip.name: list(scores_of(windows[clip], network, SCALE)) for clip in missing}
        file.with_suffix(".json").write_text(json.dumps(run) + "\n")
        runs.append(run)
    return runs


def print_table(
    windows: Mapping[HeldOut, Sequence[Window]],
    found: Mapping[str, Sequence[Mapping]],
    title: str,
) -> None:
    """Print means and standard deviations over the seeds, and the difference from the single frame seed by seed."""
    click.echo(f"{title}\n")
    click.echo("| network | steps | " + " | ".join(f"{clip.name} ({clip.camera})" for clip in windows) + " |")
    click.echo("|---" * (2 + len(windows)) + "|")
    plain = [scores_of(each, bicubic(), SCALE) for each in windows.values()]
    click.echo("| bicubic | – | " + " | ".join(f"{score.psnr_y_db:.2f} / {score.ssim:.4f}" for score in plain) + " |")
    for name, runs in found.items():
        steps = f"{statistics.fmean(run['steps'] for run in runs):.0f}"
        cells = [cell([run[clip.name] for run in runs]) for clip in windows]
        click.echo(f"| {name} | {steps} | " + " | ".join(cells) + " |")
    for name in found:
        if "single" in found and name != "single":
            pairs = partial(zip, found[name], found["single"], strict=True)
            gaps = [[run[clip.name][0] - control[clip.name][0] for run, control in pairs()] for clip in windows]
            click.echo(f"| {name} − single, dB | | " + " | ".join(map(spread, gaps)) + " |")


def cell(scores: Sequence[Sequence[float]]) -> str:
    """Return dB with its spread, and SSIM."""
    return f"{spread([psnr for psnr, _ in scores])} / {statistics.fmean(ssim for _, ssim in scores):.4f}"


def spread(values: Sequence[float]) -> str:
    """Return the mean, and the standard deviation of several values."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return (
        f"{statistics.fmean(values):+.2f}{deviation}"
        if min(values) < 10
        else f"{statistics.fmean(values):.2f}{deviation}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

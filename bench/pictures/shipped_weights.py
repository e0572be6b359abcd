"""The weights that come with Leitstand: trained on a free film, scored on held-out clips, with their record.

    python -m bench.pictures.shipped_weights FOLDER [--seconds 480] [--also NAME=moving|still=FILE …]

Trains the default network by the recipe of `bench.pictures.quality` on a film that anyone may use (CC BY 3.0), unless
FOLDER (the same as there) has it from an earlier call, and writes the weights and their record into the package
`ddp.checkpoint.shipped`. The record names the settings, each clip with its licence and SHA-256, the work done, and the
scores beside those of bicubic enlargement.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch

from bench.pictures.held_out import HeldOut, Window, scores_of, windows_of
from bench.pictures.quality import FRAMES, NETWORKS, SCALE, bicubic, cut_patches, file_of, held_out, runs_of, train_one
from ddp.checkpoint.safetensors import read_safetensors
from ddp.checkpoint.shipped.weights import RECORD_FILE, WEIGHTS_FILE
from ddp.vsr.prepare.clips import FILM
from service import __version__
from service.atomic_files import sha256_of, write_atomically

NETWORK, SEED, RANKS = "aligned", 0, 1
TRAINED_ON = {FILM.name: FILM}
"""Clips whose licence allows it, and no others: the clips of `make run` have one whose licence nobody states."""


def main() -> None:
    """Train if need be, and write weights and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--also", action="append", default=[], help="NAME=moving|still=FILE, one more held-out clip")
    given = parser.parse_args()
    clips = held_out(given.folder, given.also)
    place = given.folder / "shipped"
    make_patches(given.folder / "clips", place)
    train_one(place, NETWORK, SEED, given.seconds, RANKS)
    windows = {clip: windows_of(clip, FRAMES, SCALE, "bicubic") for clip in clips}
    (run,) = runs_of(place, NETWORK, SEED + 1, given.seconds, RANKS, windows)
    weights = file_of(place, NETWORK, SEED, given.seconds, RANKS)
    write_atomically(WEIGHTS_FILE, weights.read_bytes(), replaces=True)
    record = record_of(place, run, windows)
    write_atomically(RECORD_FILE, (json.dumps(record, indent=1) + "\n").encode(), replaces=True)
    click.echo(f"{WEIGHTS_FILE.name} and {RECORD_FILE.name} are written.")


def make_patches(clips: Path, place: Path) -> None:
    """Make the patch set, once, in the folder `set` of `place`."""
    videos = place / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    for name in TRAINED_ON:
        if not (videos / name).exists():
            shutil.copyfile(clips / name, videos / name)
    cut_patches(place / "set", f"VIDEO_ROOT={videos}", "PATCH_COUNT=2000")


def record_of(folder: Path, run: Mapping[str, Any], windows: Mapping[HeldOut, Sequence[Window]]) -> dict[str, Any]:
    """Return what a person must know to judge the weights, and to make them again."""
    _, shape = read_safetensors(WEIGHTS_FILE)
    return {
        "weights": {"file": WEIGHTS_FILE.name, "sha256": sha256_of(WEIGHTS_FILE)},
        "network": {**shape, "parameters": run["parameters"]},
        "training": {
            "settings": [*NETWORKS[NETWORK], f"SEED={SEED}"],
            "schedule": "cosine from MAX_LR to MIN_LR over the processor time",
            "ranks": RANKS,
            "steps": run["steps"],
            "processor_seconds": round(run["seconds"], 1),
            "made_by": f"leitstand {__version__}, torch {torch.__version__}",
            "date": datetime.now(UTC).date().isoformat(),
        },
        "trained_on": trained_on(json.loads((folder / "set" / "dataset.json").read_text())),
        "held_out": [scores_in(clip, run, shown) for clip, shown in windows.items()],
        "measure": "PSNR of Y in dB and SSIM of RGB, 3 pixels cropped, means over six whole frames of each clip",
    }


def trained_on(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the clips of a patch set of which any scene is trained on."""
    return [
        {"name": clip.name, "sha256": source["sha256"], "licence": clip.licence, "origin": clip.origin}
        for source in manifest["sources"]
        if _is_trained_on(source["scenes"])
        for clip in (TRAINED_ON[source["name"]],)
    ]


def _is_trained_on(scenes: Iterable[Mapping[str, Any]]) -> bool:
    return any(scene["side"] == "Patches" for scene in scenes)


def scores_in(clip: HeldOut, run: Mapping[str, Any], windows: Sequence[Window]) -> dict[str, Any]:
    """Return what a held-out clip scores with the network, and without."""
    psnr, ssim = run[clip.name]
    plain = scores_of(windows, bicubic(), SCALE)
    return {
        "name": clip.name,
        "camera": clip.camera,
        "sha256": sha256_of(clip.path),
        "psnr_y_db": round(psnr, 3),
        "ssim": round(ssim, 5),
        "bicubic_psnr_y_db": round(plain.psnr_y_db, 3),
        "bicubic_ssim": round(plain.ssim, 5),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

"""Starting real ranks on a tiny patch set."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.harness.forked import Process

SCALE, FRAMES = 3, 5
TINY = {
    "NETWORK": "recurrent", "N_FEATS": 4, "N_BLOCKS": 2, "BATCH_SIZE": 2, "NUM_WORKERS": 0, "WARMUP_STEPS": 4,
    "MAX_LR": 1e-3, "LOG_EVERY": 2, "VAL_STEP_EVERY": 5, "CHECKPOINT_EVERY": 5, "DEVICE": "cpu",
}  # fmt: skip


def write_pair(folder: Path, name: str, height: int, width: int, seed: int) -> None:
    """One pair: smooth waves moving through five frames; LR by taking every third pixel of the blurred picture."""
    y, x = np.mgrid[0:height, 0:width] / 7.0
    phases = np.random.default_rng(seed).uniform(0, 6, size=3)
    frames = [
        np.stack([127 + 60 * np.sin(x + p + t / 3) + 60 * np.cos(y * (1 + c / 3)) for c, p in enumerate(phases)], -1)
        for t in range(FRAMES)
    ]
    small = [frame.reshape(height // 3, 3, width // 3, 3, 3).mean(axis=(1, 3)) for frame in frames]
    for side, picture in (("GT", frames[FRAMES // 2]), ("LR", np.concatenate(small))):
        target = folder / side
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(target / f"{name}.png")


Launch = Callable[..., Process]


def torchrun(ranks: int, *arguments: str) -> list[str]:
    """The command line that starts so many ranks of a program on this machine."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *arguments,
    ]  # fmt: skip


def settings(**values: object) -> list[str]:
    """`--set` arguments of a tiny training; None leaves a setting out."""
    given = {key: value for key, value in {**TINY, **values}.items() if value is not None}
    return [part for key, value in given.items() for part in ("--set", f"{key}={value}")]

"""What to start, and with which environment: the trainer under torchrun, the API under gunicorn, the preparation.

It builds command lines and asks questions of a subprocess; it never starts anything that stays.
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.config.loader import PREFIX, LoadedConfig, canonical_name, load_config
from service.config.settings import RENAMED, RunConfig
from service.errors import DatasetError, SettingError, UserError

CPU_RANKS = 2
COUNT_DEVICES = (sys.executable, "-c", "import torch; print(torch.cuda.device_count())")
COUNT_SECONDS = 120.0


@dataclass(frozen=True)
class SettingsSource:
    """Where settings come from besides the environment; every process of one start reads the same."""

    file: Path | None = None
    overrides: tuple[str, ...] = ()

    def load(self, environment: Mapping[str, str]) -> LoadedConfig:
        """The checked settings; raises `SettingError`."""
        return load_config(self.file, self.overrides, environment)

    def arguments(self) -> list[str]:
        """The command-line options that lead another process to the same settings."""
        file = [] if self.file is None else ["--config", str(self.file)]
        return file + [part for override in self.overrides for part in ("--set", override)]


@dataclass(frozen=True)
class Program:
    """A command line and its whole environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


def trainer_program(
    source: SettingsSource,
    config: RunConfig,
    ranks: int,
    environment: Mapping[str, str],
    start: str | None,
    restarts: int = 0,
) -> Program:
    """The training on `ranks` processes of this machine; `start` is `--resume`, `--fresh` or None.

    After an accident, as a rank that was killed, all ranks are started again, so often, and continue.
    """
    launcher = [sys.executable, "-m", "service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}"]
    launcher.append(f"--max-restarts={restarts}")
    trainer = ["-m", "ddp", *source.arguments(), *([start] if start else [])]
    threads = {"OMP_NUM_THREADS": str(config.threads_per_rank)}
    return Program((*launcher, *trainer), {**environment, **threads})


def api_program(source: SettingsSource, environment: Mapping[str, str]) -> Program:
    """The API. Its factory takes no arguments, so overrides travel as `LEITSTAND_<KEY>`, which beats all but --set."""
    command = (sys.executable, "-m", "gunicorn", "-c", "python:api.server.gunicorn_config", "api.app:create_app()")
    passed = dict(environment)
    if source.file is not None:
        passed["LEITSTAND_CONFIG"] = str(source.file)
    for override in source.overrides:
        key, _, value = override.partition("=")
        name = canonical_name(key)
        for spelling in (name, *(old for old, new in RENAMED.items() if new == name)):
            passed.pop(spelling, None)
            passed.pop(PREFIX + spelling, None)
        passed[PREFIX + name] = value.strip()
    return Program(command, passed)


def preparation_program(config: RunConfig, environment: Mapping[str, str]) -> Program:
    """Making the patch set from `VIDEO_ROOT`, or from the clips named by `CLIPS` where that is empty."""
    shape = ["--dataset", str(config.dataset_root), "--scale", str(config.scale), "--frames", str(config.n_frames)]
    films = ["--videos", config.video_root] if config.video_root else ["--clips", config.clips]
    return Program((sys.executable, "-m", "ddp.vsr.prepare", *shape, *films), environment)


def holds_patches(dataset_root: Path) -> bool:
    """Whether there is a patch set to train on."""
    return (dataset_root / "Patches" / "GT").is_dir()


def require_patches(dataset_root: Path) -> None:
    """Raise `DatasetError` when there is no patch set."""
    if not holds_patches(dataset_root):
        raise DatasetError(
            f"DATASET_ROOT {dataset_root} holds no patch set: run `leitstand prepare`, "
            "or set DATASET_ROOT to a folder with Patches and Val."
        )


def count_ranks(wanted: str, config: RunConfig) -> int:
    """The number of training processes: a number, or `auto` for one per CUDA device, 2 without any.

    Raises `SettingError` when it is neither.
    """
    if wanted == "auto":
        return usable_devices(config) or CPU_RANKS
    if wanted.isdecimal() and wanted.isascii() and int(wanted) >= 1:
        return int(wanted)
    raise SettingError(f"--ranks is {wanted!r}, but must be auto or a whole number from 1.")


def usable_devices(config: RunConfig) -> int:
    """CUDA devices to train on, 0 for the CPU; raises `SettingError` when DEVICE is cuda and there is none."""
    devices = 0 if config.device == "cpu" else count_devices()
    if config.device == "cuda" and devices == 0:
        raise SettingError("DEVICE is cuda, but torch sees no CUDA device; mend the driver, or set DEVICE to auto.")
    return devices


def count_devices() -> int:
    """CUDA devices as torch sees them, asked in another process: this one never loads torch.

    Raises `UserError` when torch cannot be imported.
    """
    try:
        answer = subprocess.run(COUNT_DEVICES, capture_output=True, text=True, timeout=COUNT_SECONDS, check=True)
        return int(answer.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise UserError(f"torch cannot be used ({said}); install it with `make setup`, or give --ranks N.") from None

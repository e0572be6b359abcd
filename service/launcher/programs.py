"""Command lines and environments of the programs to start: trainer under torchrun, API under gunicorn, preparation.

Runs a short subprocess to count devices, but starts no long-running process.
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
    """Sources of settings besides the environment; all processes of one start use the same."""

    file: Path | None = None
    overrides: tuple[str, ...] = ()

    def load(self, environment: Mapping[str, str]) -> LoadedConfig:
        """Load and check the settings; raises `SettingError`."""
        return load_config(self.file, self.overrides, environment)

    def arguments(self) -> list[str]:
        """Return the command-line options with which another process loads the same settings."""
        file = [] if self.file is None else ["--config", str(self.file)]
        return file + [part for override in self.overrides for part in ("--set", override)]


@dataclass(frozen=True)
class Program:
    """A command line and its complete environment."""

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
    """Return the training program with `ranks` processes on this machine; `start` is `--resume`, `--fresh` or None.

    After a failure such as a killed rank, all ranks are restarted and continue, at most `restarts` times.
    """
    launcher = [sys.executable, "-m", "service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}"]
    launcher.append(f"--max-restarts={restarts}")
    trainer = ["-m", "ddp", *source.arguments(), *([start] if start else [])]
    threads = {"OMP_NUM_THREADS": str(config.threads_per_rank)}
    return Program((*launcher, *trainer), {**environment, **threads})


def api_program(source: SettingsSource, environment: Mapping[str, str]) -> Program:
    """Return the API program; its overrides are passed as `LEITSTAND_<KEY>`, because its factory takes no arguments."""
    command = (sys.executable, "-m", "gunicorn", "-c", "python:api.server.gunicorn_config", "api.app:create_app()")
    api_environment = dict(environment)
    if source.file is not None:
        api_environment["LEITSTAND_CONFIG"] = str(source.file)
    for override in source.overrides:
        key, _, value = override.partition("=")
        name = canonical_name(key)
        for spelling in (name, *(old for old, new in RENAMED.items() if new == name)):
            api_environment.pop(spelling, None)
            api_environment.pop(PREFIX + spelling, None)
        api_environment[PREFIX + name] = value.strip()
    return Program(command, api_environment)


def preparation_program(config: RunConfig, environment: Mapping[str, str]) -> Program:
    """Return the program that makes the patch set from VIDEO_ROOT, or if that is empty, from the clips in CLIPS."""
    format_options = ["--scale", str(config.scale), "--frames", str(config.n_frames)]
    options = ["--dataset", str(config.dataset_root), *format_options]
    videos = ["--videos", config.video_root] if config.video_root else ["--clips", config.clips]
    return Program((sys.executable, "-m", "ddp.vsr.prepare", *options, *videos), environment)


def holds_patches(dataset_root: Path) -> bool:
    """Return True if there is a patch set to train on."""
    return (dataset_root / "Patches" / "GT").is_dir()


def require_patches(dataset_root: Path) -> None:
    """Raise `DatasetError` if there is no patch set."""
    if not holds_patches(dataset_root):
        raise DatasetError(
            f"DATASET_ROOT {dataset_root} holds no patch set: run `leitstand prepare`, "
            "or set DATASET_ROOT to a folder with Patches and Val."
        )


def count_ranks(wanted: str, config: RunConfig) -> int:
    """Return the number of training processes: a given number, or for `auto` one per CUDA device, 2 without any.

    Raises `SettingError` for any other text.
    """
    if wanted == "auto":
        return usable_devices(config) or CPU_RANKS
    if wanted.isdecimal() and wanted.isascii() and int(wanted) >= 1:
        return int(wanted)
    raise SettingError(f"--ranks is {wanted!r}, but must be auto or a whole number from 1.")


def usable_devices(config: RunConfig) -> int:
    """Return the number of CUDA devices to train on, 0 for the CPU; raises `SettingError` if DEVICE=cuda has none."""
    devices = 0 if config.device == "cpu" else count_devices()
    if config.device == "cuda" and devices == 0:
        raise SettingError("DEVICE is cuda, but torch sees no CUDA device; mend the driver, or set DEVICE to auto.")
    return devices


def count_devices() -> int:
    """Return the number of CUDA devices, which another process counts, because this one must not load torch.

    Raises `UserError` if torch cannot be imported.
    """
    try:
        answer = subprocess.run(COUNT_DEVICES, capture_output=True, text=True, timeout=COUNT_SECONDS, check=True)
        return int(answer.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise UserError(f"torch cannot be used ({reason}); install it with `make setup`, or give --ranks N.") from None

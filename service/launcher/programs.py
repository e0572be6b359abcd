"""Command lines and environments of the programs to start: trainer under torchrun, API under gunicorn, preparation.

Runs a short subprocess to count devices, but starts no long-running process. Raises `UserError` for a program whose
packages are not installed.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.config.data_sources import data_sources
from service.config.loader import PREFIX, canonical_name
from service.config.settings import RENAMED, RunConfig
from service.config.source import SettingsSource
from service.errors import DatasetError, SettingError, UserError
from service.launcher.extras import require_extra
from service.launcher.machines.nodes import Nodes
from service.launcher.parent_death import ending_with_this
from service.launcher.torchrun import FORK_SERVER, RUN_DIRECTORY

CPU_RANKS = 2
COUNT_DEVICES = (sys.executable, "-c", "import torch; print(torch.cuda.device_count())")
COUNT_SECONDS = 120.0


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
    *,
    prints_steps: bool = True,
    nodes: Nodes | None = None,
) -> Program:
    """Return the training program with `ranks` processes on this machine; `start` is `--resume`, `--fresh` or None.

    Without `prints_steps`, the console gets no line at each log point. With `nodes`, this machine is one of several.
    Raises `SettingError` if it cannot be.

    After a failure such as a killed rank, all ranks are restarted and continue, at most `restarts` times.
    """
    require_extra("train")
    meeting = nodes.launcher_options(environment) if nodes else ["--standalone"]
    launcher = [sys.executable, "-m", "service.launcher.torchrun", *meeting, f"--nproc-per-node={ranks}"]
    launcher.append(f"--max-restarts={restarts}")
    options = [*([start] if start else []), *([] if prints_steps else ["--no-step-lines"])]
    trainer = ["-m", "ddp", *source.arguments(), *options]
    added = {"OMP_NUM_THREADS": str(config.threads_per_rank), RUN_DIRECTORY: str(config.data_root)}
    added[FORK_SERVER] = "1" if config.fork_server else ""
    return Program((*launcher, *trainer), {**environment, **added, **(nodes.variables(environment) if nodes else {})})


def api_program(source: SettingsSource, environment: Mapping[str, str]) -> Program:
    """Return the API program; its overrides are passed as `LEITSTAND_<KEY>`, because its factory takes no arguments."""
    require_extra("api")
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


def preparation_program(
    config: RunConfig, environment: Mapping[str, str], *, keep: bool = False, workers: int = 0
) -> Program:
    """Return the program that makes the patch set from VIDEO_ROOT, or if that is empty, from the clips in CLIPS.

    With `keep`, an existing set stays as it is if the videos have changed. `workers` processes work, 0: one a core.
    """
    require_extra("train")
    chosen = {"scale": config.scale, "frames": config.n_frames, "degradation": config.degradation, "hdr": config.hdr}
    counts = {"patch-count": config.patch_count, "val-count": config.val_count}
    chosen.update({name: count for name, count in counts.items() if count})  # 0 leaves it to the material
    options = ["--dataset", str(config.dataset_root), *(f"--{name}={value}" for name, value in chosen.items())]
    videos = ["--videos", config.video_root] if config.video_root else ["--clips", config.clips]
    kept = ["--keep"] if keep and config.video_root else []
    kept += [f"--workers={workers}"] if workers else []
    return Program((sys.executable, "-m", "ddp.vsr.prepare", *options, *kept, *videos), environment)


def packing_program(
    config: RunConfig, environment: Mapping[str, str], container: str = "", out: Path | None = None
) -> Program:
    """Return the program that makes the packed copies of the patch sets in DATASET_ROOT and DATA_SOURCES.

    Or, with `container`, that writes the set in DATASET_ROOT as `lmdb` or `shards` to the folder `out`.
    """
    require_extra("train")
    sources = data_sources(config.dataset_root, "" if container else config.data_sources)
    options = [part for source in sources for part in ("--dataset", str(source.path))]
    options += ["--scale", str(config.scale), "--frames", str(config.n_frames)]
    options += [f"--container={container}", f"--out={out}"] if container else []
    return Program((sys.executable, "-m", "ddp.vsr.feeding.pack", *options), environment)


def inference_program(
    name: str,
    source: SettingsSource,
    paths: Sequence[Path | str],
    wishes: Mapping[str, str | int | bool | None],
    environment: Mapping[str, str],
) -> Program:
    """Return the program `upscale`, `evaluate` or `export`; `wishes` are its options, None for one not given."""
    require_extra("train")
    options: list[str] = []
    for wish, value in wishes.items():
        option = f"--{wish.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif value is not None and value is not False:
            options.append(f"{option}={value}")
    command = (sys.executable, "-m", f"ddp.inference.{name}", *source.arguments(), *options)
    return Program((*command, "--", *map(str, paths)), environment)


def holds_patches(dataset_root: Path) -> bool:
    """Return True if there is a patch set to train on: folders of PNG files, LMDB databases, or tar shards."""
    side = dataset_root / "Patches"
    return (side / "GT").is_dir() or (side / "GT.lmdb").is_dir() or any(side.glob("*.tar"))


def require_sources(config: RunConfig) -> None:
    """Raise `DatasetError` if DATASET_ROOT, or a set of DATA_SOURCES, is no patch set."""
    require_patches(config.dataset_root)
    require_mixed_sources(config)


def require_mixed_sources(config: RunConfig) -> None:
    """Raise `DatasetError` if a set of DATA_SOURCES is no patch set; that in DATASET_ROOT need not be there yet."""
    for source in data_sources(config.dataset_root, config.data_sources):
        if source.path != config.dataset_root and not holds_patches(source.path):
            raise DatasetError(
                f"DATA_SOURCES names {source.path}, which holds no patch set ({{Patches,Val}}/{{GT,LR}}/*.png): "
                "correct the path, or make the set with `leitstand prepare` first."
            )


def require_patches(dataset_root: Path) -> None:
    """Raise `DatasetError` if there is no patch set."""
    if not holds_patches(dataset_root):
        raise DatasetError(
            f"DATASET_ROOT {dataset_root} holds no patch set: run `leitstand prepare` (`leitstand up` does "
            "that by itself), or set DATASET_ROOT to a folder with Patches and Val."
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
        command = ending_with_this(COUNT_DEVICES)
        answer = subprocess.run(command, capture_output=True, text=True, timeout=COUNT_SECONDS, check=True)
        return int(answer.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise UserError(f"torch cannot be used ({reason}); `pip install 'leitstand[train]'` brings it.") from None

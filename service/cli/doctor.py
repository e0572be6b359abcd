"""`leitstand doctor`: checks this machine and the settings, and reports problems with remedies."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from service.auth.hosts import require_safe_address
from service.auth.tokens import read_tokens, token_file_path
from service.cli.options import as_json_text, json_option, nodes_options, settings_options
from service.cli.text_table import table
from service.config.data_sources import data_sources
from service.config.loader import LoadedConfig, naming_origins
from service.config.settings import RunConfig
from service.config.source import SettingsSource
from service.errors import DatasetError, UserError
from service.launcher.extras import EXTRAS, missing_packages
from service.launcher.machines.nodes import Nodes
from service.launcher.ports import require_free_port
from service.launcher.programs import CPU_RANKS, require_sources, usable_devices
from service.run.directory import require_writable
from service.store.schema_upgrade import needs_upgrade
from service.store.store import StoreUnavailableError, open_store

MIN_FREE_GIB = 2.0
BUSY_SECONDS = 2.0
"""How long to wait for a locked store."""

SHARED_MEMORY = Path("/dev/shm")
BATCHES_PER_LOADER = 2
"""Batches that torch lets each loader process prepare ahead."""
PNG = b"\x89PNG\r\n\x1a\n"

Check = Callable[[RunConfig], str]


@click.command
@json_option
@nodes_options
@settings_options
def doctor(source: SettingsSource, nodes: Nodes | None, as_json: bool) -> int:
    """Check this machine and the settings.

    Exit code 1 when something would not work.
    """
    loaded = source.load(os.environ)
    checks: dict[str, Check] = {**CHECKS, **({"machines": partial(_machines, nodes)} if nodes else {})}
    results = [_result(name, check, loaded) for name, check in checks.items()]
    if as_json:
        click.echo(
            as_json_text({"checks": [dict(zip(("check", "mark", "finding"), row, strict=True)) for row in results]})
        )
    else:
        click.echo(table(("check", "", "finding"), results, left=frozenset({0, 1, 2}), wrapped=frozenset({2})))
    return 1 if any(mark == "FAIL" for _, mark, _ in results) else 0


def _result(name: str, check: Check, loaded: LoadedConfig) -> tuple[str, str, str]:
    try:
        with naming_origins(lambda: loaded.places):
            return name, "ok", check(loaded.config)
    except UserError as error:
        return name, "FAIL", str(error)


def _python(_config: RunConfig) -> str:
    return f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"


def _packages(_config: RunConfig) -> str:
    if missing := missing_packages(*EXTRAS):
        raise UserError(f"not installed: {', '.join(missing)}; `pip install 'leitstand[train,api]'` brings them.")
    return "training and API are installed"


@cache
def _count_devices(config: RunConfig) -> int:
    return usable_devices(config)  # imports torch in another process, which takes seconds


def _devices(config: RunConfig) -> str:
    devices = _count_devices(config)
    return f"training on {devices} CUDA devices" if devices else "training on the CPU"


def _run_directory(config: RunConfig) -> str:
    folder = next(folder for folder in (config.data_root, *config.data_root.absolute().parents) if folder.is_dir())
    if folder == config.data_root:
        require_writable(folder)
    elif not os.access(folder, os.W_OK):
        raise UserError(f"DATA_ROOT {config.data_root} cannot be made in {folder}; choose another or mend permissions.")
    free_gib = shutil.disk_usage(folder).free / 2**30
    if free_gib < MIN_FREE_GIB:
        raise UserError(f"DATA_ROOT {config.data_root} has {free_gib:.1f} GiB left; make room for checkpoints.")
    return f"{config.data_root}, {free_gib:.0f} GiB free"


def _store(config: RunConfig) -> str:
    try:
        if config.store_url and not _has_tables(config.store_url):
            return "STORE_URL leads to a database without tables yet; the first start makes them"
        store = open_store(config, busy_seconds=BUSY_SECONDS)
        try:
            run = store.runs.latest() if store.exists() else None
            return f"{store.location}, {f'run {run.id}' if run else 'no run yet'}"
        finally:
            store.close()
    except StoreUnavailableError as error:
        raise UserError(f"{error}; look at STORE_URL, or at the file and its disk.") from None


def _has_tables(store_url: str) -> bool:
    """Return True if a server's database already has the tables, which `open_store` would create."""
    try:
        from service.store.backends.postgres import PostgresServer
    except ModuleNotFoundError as error:
        raise UserError(f"STORE_URL needs {error.name}; install the extra leitstand[postgres].") from None
    server = PostgresServer(store_url, keep_open=True, busy_seconds=BUSY_SECONDS)
    try:
        with server.engine.connect() as connection:
            return not needs_upgrade(connection)
    except DBAPIError as error:
        raise server.translate_error(error) from None
    finally:
        server.close()


def _tokens(config: RunConfig) -> str:
    file = token_file_path(config)
    tokens = [f"{len(read_tokens(file))} in {file}"] if file else []
    tokens += ["API_TOKEN"] if config.api_token else []
    return ", ".join(tokens) or "none: only this machine is served"


def _shared_memory(config: RunConfig) -> str:
    """Compare the free part of /dev/shm with the batches that loader processes keep there."""
    if not config.num_workers or not SHARED_MEMORY.is_dir():
        return "not needed"
    if not os.access(SHARED_MEMORY, os.W_OK):
        raise UserError(
            f"{SHARED_MEMORY} cannot be written, but loaders need it: mount a tmpfs there that this user may write, or "
            "set NUM_WORKERS=0, which needs none."
        )
    free = shutil.disk_usage(SHARED_MEMORY).free
    needed = BATCHES_PER_LOADER * config.num_workers * config.batch_size * _bytes_of_sample(config) * _ranks(config)
    if needed > free:
        raise UserError(
            f"{SHARED_MEMORY} has {_mib(free)} left, but loaders need {_mib(needed)}: enlarge it, or set a smaller "
            "NUM_WORKERS or BATCH_SIZE; NUM_WORKERS=0 needs none."
        )
    return f"{_mib(free)} free, {_mib(needed)} needed"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _ranks(config: RunConfig) -> int:
    with suppress(UserError):  # the check of the devices says it
        return _count_devices(config) or CPU_RANKS
    return CPU_RANKS


def _bytes_of_sample(config: RunConfig) -> int:
    """Return the size of a sample's pictures, GT and the LR frames; 0 if no patch says how large they are."""
    side = config.patch_size * config.scale
    pixels = side * side or _pixels_of_first(Path(config.dataset_root, "Patches", "GT"))
    return 3 * pixels + 3 * config.n_frames * pixels // config.scale**2


def _pixels_of_first(folder: Path) -> int:
    """Return the number of pixels that the header of a folder's first PNG file gives; 0 without one."""
    first = next(iter(sorted(folder.glob("*.png"))), None)
    if first is None:
        return 0
    with first.open("rb") as file:
        head = file.read(len(PNG) + 16)
    return int.from_bytes(head[-8:-4]) * int.from_bytes(head[-4:]) if head.startswith(PNG) else 0


def _dataset(config: RunConfig) -> str:
    require_sources(config)
    sources = data_sources(config.dataset_root, config.data_sources)
    return "; ".join(_count_patches(source.path, config) for source in sources)


def _count_patches(root: Path, config: RunConfig) -> str:
    low, high = (Path(root, "Patches", kind) for kind in ("LR", "GT"))
    if not high.is_dir():
        return f"{root}, patches in databases or shards"
    patches = sum((low / path.name).is_file() for path in high.glob("*.png"))
    if not patches:
        setting = "DATASET_ROOT" if root == config.dataset_root else "DATA_SOURCES"
        raise DatasetError(
            f"{setting} {root} holds no pair of PNG files of one name in Patches/GT and Patches/LR: "
            "give the folder of another patch set, or a new one to `leitstand prepare`."
        )
    return f"{root}, {patches} patches"


def _address(config: RunConfig) -> str:
    require_safe_address(config)
    require_free_port(config.api_host, config.api_port)
    return f"{config.api_host}:{config.api_port} is free"


def _machines(nodes: Nodes, config: RunConfig) -> str:
    return nodes.check(os.environ, config.collective_timeout_seconds)


CHECKS: dict[str, Check] = {
    "Python": _python,
    "packages": _packages,
    "devices": _devices,
    "run directory": _run_directory,
    "store": _store,
    "tokens": _tokens,
    "dataset": _dataset,
    "shared memory": _shared_memory,
    "address": _address,
}

"""`leitstand doctor`: checks this machine and the settings, and reports problems with remedies."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from service.auth.hosts import require_safe_address
from service.auth.tokens import read_tokens, token_file_path
from service.cli.options import as_json_text, json_option, settings_options
from service.cli.text_table import table
from service.config.settings import RunConfig
from service.errors import UserError
from service.launcher.ports import require_free_port
from service.launcher.programs import SettingsSource, require_patches, usable_devices
from service.run.directory import require_writable
from service.store.schema_upgrade import needs_upgrade
from service.store.store import StoreUnavailableError, open_store

MIN_FREE_GIB = 2.0
BUSY_SECONDS = 2.0
"""How long to wait for a locked store."""
EXTRAS = {"train": ("torch", "numpy", "PIL", "av"), "api": ("flask", "gunicorn", "prometheus_client")}

Check = Callable[[RunConfig], str]


@click.command
@json_option
@settings_options
def doctor(source: SettingsSource, as_json: bool) -> int:
    """Check this machine and the settings.

    Exit code 1 when something would not work.
    """
    config = source.load(os.environ).config
    results = [_result(name, check, config) for name, check in CHECKS.items()]
    if as_json:
        click.echo(
            as_json_text({"checks": [dict(zip(("check", "mark", "finding"), row, strict=True)) for row in results]})
        )
    else:
        click.echo(table(("check", "", "finding"), results, left=frozenset({0, 1, 2})))
    return 1 if any(mark == "FAIL" for _, mark, _ in results) else 0


def _result(name: str, check: Check, config: RunConfig) -> tuple[str, str, str]:
    try:
        return name, "ok", check(config)
    except UserError as error:
        return name, "FAIL", str(error)


def _python(_config: RunConfig) -> str:
    return f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"


def _packages(_config: RunConfig) -> str:
    required = [(module, extra) for extra, modules in EXTRAS.items() for module in modules]
    missing = [f"{module} (extra {extra!r})" for module, extra in required if not find_spec(module)]
    if missing:
        raise UserError(f"not installed: {', '.join(missing)}; run `make setup`.")
    return "training and API are installed"


def _devices(config: RunConfig) -> str:
    devices = usable_devices(config)
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


def _dataset(config: RunConfig) -> str:
    require_patches(config.dataset_root)
    patches = sum(1 for _ in Path(config.dataset_root, "Patches", "GT").iterdir())
    return f"{config.dataset_root}, {patches} patches"


def _address(config: RunConfig) -> str:
    require_safe_address(config)
    require_free_port(config.api_host, config.api_port)
    return f"{config.api_host}:{config.api_port} is free"


CHECKS: dict[str, Check] = {
    "Python": _python,
    "packages": _packages,
    "devices": _devices,
    "run directory": _run_directory,
    "store": _store,
    "tokens": _tokens,
    "dataset": _dataset,
    "address": _address,
}

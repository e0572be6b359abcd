"""Which runs a command is about: those of directories, or those of a server."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource

from service.cli.server_options import Connect, connected
from service.cli.stats.cached_records import labels_of
from service.cli.stats.sources.directory_run import DirectoryRun
from service.cli.stats.sources.run_source import RunSources
from service.cli.stats.sources.served_run import ServedRun
from service.errors import UserError


@contextmanager
def chosen_sources(
    connect: Connect, names: Sequence[str], *, archived: bool = False, store_url: str = ""
) -> Iterator[RunSources]:
    """Open the directories or runs with these names; without any name the server's run.

    They are runs of a server if --url is given, or if LEITSTAND_URL is set and none of them is a directory. Raises
    `UserError`.
    """
    if folders := _folders(names):
        labels = labels_of(list(dict.fromkeys(folder.resolve() for folder in folders)))
        runs = [DirectoryRun(folder, label, archived=archived, store_url=store_url) for folder, label in labels.items()]
        yield RunSources(runs, are_directories=True)
        return
    with ExitStack() as stack:
        yield RunSources([_served(connect, name, stack) for name in names or (None,)], are_directories=False)


def _folders(names: Sequence[str]) -> list[Path]:
    """Return the directories with these names; none if a server is to be asked. Raises `UserError`."""
    source = click.get_current_context().get_parameter_source("url")
    if source is ParameterSource.COMMANDLINE or not names:
        return []
    missing = [name for name in names if not Path(name).is_dir()]
    if not missing:
        return [Path(name) for name in names]
    if source is ParameterSource.DEFAULT or len(missing) < len(names):
        raise UserError(
            f"{missing[0]} is no directory; name directories of runs, or with --url the runs of one server."
        )
    return []


def _served(connect: Connect, name: str | None, stack: ExitStack) -> ServedRun:
    client = stack.enter_context(connected(connect if name is None else partial(connect, run=name)))
    return ServedRun(client, name or client.run or str(client.state()["run_id"]))

"""`leitstand stats rebuild`: the store of a run made again from the files of its run directory."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click

from service.cli.options import as_json_text, json_option
from service.cli.text_table import show_line
from service.errors import RunDirectoryError, UserError, plain_reason
from service.run.directory import RunDirectory
from service.run.lock import take_lock
from service.store.rebuild import Rebuilt
from service.store.rebuild import rebuild as rebuild_store
from service.store.store import Store, StoreUnavailableError

BAD_FILES = 2


@click.command
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR")
@click.option("--store-url", envvar="STORE_URL", default="", metavar="URL", help="The shared store, if there is one.")
@json_option
def rebuild(folder: Path, store_url: str, as_json: bool) -> int:
    """Make the store again from a run's files.

    Of the run directory DIR, whose trainer has ended: the run, its records and those of its branches, and their points
    of the curves; of a store without events also those that the log and the records tell. Other log points, who gave a
    command, and what had no effect on the run cannot be made again.
    """
    done = _locked(RunDirectory(folder.resolve()), store_url)
    for path, reason in done.bad or []:
        show_line(f"unreadable: {path} ({reason})", err=True)
    if as_json:
        bad = [{"path": str(path), "reason": reason} for path, reason in done.bad or []]
        click.echo(as_json_text({**vars(replace(done, bad=None)), "bad": bad}))
    else:
        run = "the run itself, " if done.is_new else ""
        show_line(f"{folder}: {run}{done.records} records and {done.points} points of curves were put into the store")
        if done.events:
            show_line(f"{folder}: {done.events} events and {done.commands} commands, as far as log and records tell")
    return BAD_FILES if done.bad else 0


def _locked(directory: RunDirectory, store_url: str) -> Rebuilt:
    """Rebuild while no trainer can start; raises `UserError`."""
    try:
        lock = take_lock(directory.root / ".lock", 0.0)
        if lock is None:
            raise RunDirectoryError(
                f"A trainer is working in {directory.root}; it fills the store itself when it starts."
            )
        with closing(lock), closing(Store(store_url or directory.store, create=True, keep_open=True)) as store:
            return rebuild_store(directory, store)
    except StoreUnavailableError as error:
        raise UserError(f"The store cannot be used ({error}); if it is damaged, move it away and try again.") from None
    except OSError as error:
        raise UserError(f"The store of {directory.root} cannot be made ({plain_reason(error)}); mend that.") from None

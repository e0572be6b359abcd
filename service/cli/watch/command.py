"""`leitstand watch`: chooses between the living view and plain lines."""

import sys

import click

from service.cli.options import json_option
from service.cli.server_options import connection_options
from service.cli.watch.feed import Connect, Feed, Inbox
from service.cli.watch.plain import print_lines
from service.errors import UserError
from service.launcher.imports import without_collection


@click.command
@click.option("--plain", is_flag=True, help="A line for each log point, as without a terminal, instead of a picture.")
@json_option
@connection_options
def watch(connect: Connect, plain: bool, as_json: bool) -> int:
    """Watch a run in the terminal and steer it with keys.

    Without a terminal, or with --json: a line for each log point and event, until the run ends.
    """
    if plain or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return print_lines(connect, as_json=as_json)
    return _show(connect)


def _show(connect: Connect) -> int:
    """Ask the API and load textual meanwhile, then show the view; returns the exit code."""
    try:
        with without_collection():
            inbox = Inbox()
            feed = Feed(connect, inbox.put)
            feed.start()
            from service.cli.watch.app import WatchApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"textual", "rich"}:
            raise
        raise UserError(
            "The view needs the package textual: install the extra leitstand[watch], or add --plain for lines."
        ) from None
    app = WatchApp(connect, inbox, feed)
    code = app.run(mouse=False)
    if app.failure is not None:
        raise app.failure
    return code or 0

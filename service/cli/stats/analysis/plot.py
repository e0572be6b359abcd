"""`leitstand stats plot`: curves of runs as a picture."""

from pathlib import Path

import click

from service.atomic_files import atomic_file
from service.cli.options import as_json_text, json_option
from service.cli.server_options import Connect, connection_options
from service.cli.stats.options import archived_option, runs_argument
from service.cli.stats.sources.chosen import chosen_sources
from service.cli.stats.sources.run_source import RunSources
from service.cli.stats.tables import explained_write_errors, show_problems
from service.cli.text_table import show_line
from service.errors import UserError
from service.run.records.curves.axis import AXES, Axis, MissingAxisError
from service.run.records.curves.columns import RunColumns, columns_of
from service.run.records.curves.panels import ACTIVITY, NAMES, PANELS, Panel
from service.run.records.curves.picture import FORMATS, NoMatplotlibError, PictureOptions, Style, draw

NO_MATPLOTLIB = 'Pictures need matplotlib; install it with `pip install "leitstand[plot]"`.'
MAX_RUNS = 7
"""As many runs as there are colours."""


@click.command
@runs_argument
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("records.png"), show_default=True, metavar="FILE",
    help="The picture; its name ends with .png, .svg or .pdf.",
)  # fmt: skip
@click.option("--panels", default="", metavar="A,B", help=f"Which panels: {', '.join(NAMES)}. All without it.")
@click.option(
    "--by", "axis", type=click.Choice(AXES), default="step", show_default=True,
    help="Over steps, training samples, or hours of training without pauses and validations.",
)  # fmt: skip
@click.option(
    "--style", type=click.Choice(["screen", "paper"]), default="screen", show_default=True,
    help="paper: as wide as a column, serif, 300 dpi.",
)  # fmt: skip
@archived_option
@json_option
@connection_options
def plot(
    connect: Connect,
    names: tuple[str, ...],
    out: Path,
    panels: str,
    axis: Axis,
    style: Style,
    archived: bool,
    as_json: bool,
) -> int:
    """Draw quality, losses, weights and layer activity.

    Of the run directories DIR, or of the runs of a server; overlaid where there are several.
    """
    options = PictureOptions(_panels(panels), axis, style)
    file_format = _format(out)
    with chosen_sources(connect, names, archived=archived) as sources:
        if len(sources.runs) > MAX_RUNS:
            raise UserError(f"{len(sources.runs)} runs cannot be told apart in one picture; draw at most {MAX_RUNS}.")
        runs = [run for run in _columns(sources, options) if run.steps]
    if not runs:
        show_line("No record yet: one is saved after every validation.", err=True)
        return show_problems(sources)
    _save(runs, options, out, file_format)
    click.echo(as_json_text({"path": str(out)})) if as_json else show_line(str(out))
    return show_problems(sources)


def _panels(names: str) -> list[Panel]:
    """Return the panels of these names, in their own order; raises `UserError`."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in NAMES]:
        raise UserError(f"--panels has {unknown[0]!r}, but a panel is one of {', '.join(NAMES)}.")
    return [panel for panel in PANELS if panel.name in (chosen or NAMES)]


def _format(out: Path) -> str:
    name = out.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise UserError(f"--out is {out}, but must end with .png, .svg or .pdf.")
    return name


def _columns(sources: RunSources, options: PictureOptions) -> list[RunColumns]:
    """Return the columns of every run; the activity of layers only if it is drawn."""
    needs_activity = any(panel.name == ACTIVITY for panel in options.panels)
    return [columns_of(run.label, run.summaries(), run.count() if needs_activity else 0) for run in sources.runs]


def _save(runs: list[RunColumns], options: PictureOptions, out: Path, file_format: str) -> None:
    """Draw the picture into a file, whole or not at all; raises `UserError`."""
    try:
        with explained_write_errors(out), atomic_file(out) as file:
            draw(runs, options, file, file_format)
    except NoMatplotlibError:
        raise UserError(NO_MATPLOTLIB) from None
    except MissingAxisError as error:
        text = str(error)
        raise UserError(f"{text[0].upper()}{text[1:]}; draw over steps (`--by step`).") from None

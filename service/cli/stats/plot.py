"""`leitstand stats plot`: curves of run directories as a picture."""

from pathlib import Path

import click

from service.cli.stats.cached_records import cached_records
from service.cli.stats.directories import labels_of, show_problems
from service.cli.stats.options import archived_option
from service.cli.stats.tables import explained_write_errors
from service.cli.text_table import show_line
from service.client.downloads import atomic_file
from service.errors import UserError
from service.run.records.curves.axis import AXES, Axis, MissingAxisError
from service.run.records.curves.columns import RunColumns, columns_of
from service.run.records.curves.panels import ACTIVITY, NAMES, PANELS, Panel
from service.run.records.curves.picture import FORMATS, NoMatplotlibError, PictureOptions, Style, draw
from service.run.records.history import Records

NO_MATPLOTLIB = 'Pictures need matplotlib; install it with `pip install "leitstand[plot]"`.'
MAX_RUNS = 7
"""As many runs as there are colours."""


@click.command
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR..."
)
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
def plot(folders: tuple[Path, ...], out: Path, panels: str, axis: Axis, style: Style, archived: bool) -> int:
    """Draw quality, losses, learning rate, weights and activity.

    Of the run directories DIR, overlaid where there are several.
    """
    records = cached_records(*folders, archived=archived)
    if len(records.folders) > MAX_RUNS:
        raise UserError(f"{len(records.folders)} runs cannot be told apart in one picture; draw at most {MAX_RUNS}.")
    options = PictureOptions(_panels(panels), axis, style)
    file_format = _format(out)
    runs = [run for run in _columns(records, options) if run.steps]
    if not runs:
        show_line("No record yet: one is saved after every validation.", err=True)
        return show_problems(records)
    _save(runs, options, out, file_format)
    show_line(str(out))
    return show_problems(records)


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


def _columns(records: Records, options: PictureOptions) -> list[RunColumns]:
    """Return the columns of every run; the activity of layers only if it is drawn."""
    needs_activity = any(panel.name == ACTIVITY for panel in options.panels)
    return [
        columns_of(label, records.summaries(folder), len(records.files(folder)) if needs_activity else 0)
        for folder, label in labels_of(records.folders).items()
    ]


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

"""`leitstand stats csv` into a Parquet file, of a directory's records or of a server's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from service.atomic_files import atomic_file
from service.cli.server_options import Connect
from service.cli.stats.sources.chosen import chosen_sources
from service.cli.stats.tables import explained_write_errors, show_problems, show_written
from service.cli.text_table import show_line
from service.errors import UserError
from service.run.records.saved_record import SavedRecord
from service.run.records.tables.parquet import NoPyarrowError, ParquetTable

SUFFIX = ".parquet"
NO_PYARROW = 'Parquet needs pyarrow; install it with `pip install "leitstand[parquet]"`.'


def write_parquet(
    records: Iterable[SavedRecord], file: Path | None, layers: Sequence[str] = (), *, as_json: bool = False
) -> None:
    """Write records to a file, whole or not at all, and say what was written and what not; raises `UserError`."""
    if file is None or str(file) == "-":
        raise UserError("Parquet is no text; name the file to write with --out.")
    try:
        table = ParquetTable(layers)
    except NoPyarrowError:
        raise UserError(NO_PYARROW) from None
    with explained_write_errors(file), atomic_file(file) as target:
        row_count = table.write(records, target)
    show_written(file, row_count, table.column_count, as_json=as_json)
    if table.left_out:
        show_line(f"left out: {', '.join(sorted(table.left_out))}, which this version does not know", err=True)
    if table.too_large:
        show_line(f"left out: whole numbers of more than 64 bits in {', '.join(sorted(table.too_large))}", err=True)


def write_served(connect: Connect, file: Path | None, *, as_json: bool) -> int:
    """Write the records of a server's run; returns the exit code."""
    with chosen_sources(connect, ()) as sources:
        write_parquet((record for run in sources.runs for record in run.records()), file, as_json=as_json)
    return show_problems(sources)

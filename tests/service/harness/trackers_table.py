"""The tables of docs/records.md that say what each tracker keeps."""


def table_of(page: str, head: str) -> dict[str, dict[str, str]]:
    """Cells of the table whose first heading is `head`, by row and tracker."""
    lines = page.partition(f"\n| {head} | ")[2].partition("\n\n")[0].splitlines()
    names = [cell.strip(" `") for cell in lines[0].strip("| ").split("|")]
    rows = ([cell.strip(" `") for cell in line.strip("| ").split("|")] for line in lines[2:])
    return {row: dict(zip(names, cells, strict=True)) for row, *cells in rows}

"""The rows of all parts as a table, with the figures that follow from several of them. Pure arithmetic and text."""

import json
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.context import Row

SHARE_AIM = 60.0
RATIO_AIM = 3.0


def read_rows(path: Path) -> list[Row]:
    """The rows that the parts have written; none if none has."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Row(*json.loads(line)) for line in lines]


def derived(rows: Sequence[Row]) -> list[Row]:
    """The share of the ceiling of each way, and the fastest of Leitstand's against the original's loop."""
    numbers = {row.what: row.value for row in rows if isinstance(row.value, float | int)}
    arithmetic, ceiling = numbers.get("arithmetic"), numbers.get("ceiling")
    rates = {row.what: float(row.value) for row in rows if row.unit == "images/s" and row.part != "rank"}
    own = {what: rate for what, rate in rates.items() if what.startswith("Leitstand")}
    found = []
    if arithmetic and ceiling:
        for what, rate in rates.items():
            aim = f"aim {SHARE_AIM:.0f} %" if what in own else ""
            found.append(Row("sum", f"share of the ceiling: {what}", 100 * rate * arithmetic / ceiling, "%", aim))
    if own and "the original's loop" in rates:
        best = max(own, key=lambda what: own[what])
        ratio = own[best] / rates["the original's loop"]
        found.append(Row("sum", "fastest against the original's loop", ratio, "times", f"{best}; aim {RATIO_AIM:.0f}"))
    return found


def as_table(rows: Sequence[Row]) -> str:
    """Lines of Markdown."""
    lines = ["| part | what | figure | of what, and how |", "|---|---|---|---|"]
    for row in rows:
        value = row.value if isinstance(row.value, str) else f"{row.value:.4g}"
        lines.append(f"| {row.part} | {row.what} | {value} {row.unit} | {row.note} |".replace("  |", " |"))
    return "\n".join(lines) + "\n"

"""Generates the tables of `docs/configuration.md` from the settings: `python -m service.config.docs`.

`leitstand settings --all` shows the same rows where there is no such page, as after an installation from a wheel.

Only the text between the page's markers is replaced; all other lines are written by hand.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from service.config.settings import RENAMED, WITHOUT_EFFECT, RunConfig, SettingRule, rule_of
from service.errors import UserError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

BEGIN = "<!-- begin: tables made by `python -m service.config.docs` -->"

END = "<!-- end -->"

_GROUP_OR_SETTING = re.compile(r"^    (?:# (?P<group>.+)|(?P<setting>[a-z][a-z0-9_]*): .+)$", re.MULTILINE)
_TYPES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", Path: "folder"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Update the page, or the page given as the only argument; returns the exit code."""
    paths = sys.argv[1:] if arguments is None else arguments
    page = Path(paths[0]) if paths else PAGE
    try:
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
    except (UserError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    click.echo(f"{page} is up to date")
    return 0


def updated(page: str) -> str:
    """Return the page's text with regenerated tables; raises `UserError` if its markers are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"The page lacks the lines {BEGIN!r} and {END!r}: put them around the tables.")
    return f"{before}{BEGIN}\n\n{render_tables()}\n{END}{after}"


def render_tables() -> str:
    """Return the tables of all settings, grouped as in `service/config/settings.py`, and of the original names."""
    blocks = [_section(group, rows) for group, rows in described_settings().items()]
    renamed = [(f"`{old}`", f"`{new}`") for old, new in RENAMED.items()]
    retired = [(f"`{name}`", reason) for name, reason in WITHOUT_EFFECT.items()]
    blocks.append(f"### Other names that are understood\n\n{_table(('original name', 'setting'), renamed)}")
    blocks.append(f"### Names that are refused\n\n{_table(('original name', 'why it would have no effect'), retired)}")
    return "\n".join(blocks)


def described_settings() -> dict[str, list[tuple[str, ...]]]:
    """Return {heading: rows} of all settings: name, default, values and meaning, in the page's Markdown."""
    by_name = {item.name: item for item in fields(RunConfig)}
    return {group: [_row(by_name[name]) for name in names] for group, names in groups().items()}


def groups() -> dict[str, list[str]]:
    """Return {heading: settings} from the comments and fields in the source of `RunConfig`."""
    settings: dict[str, list[str]] = {}
    for match in _GROUP_OR_SETTING.finditer(inspect.getsource(RunConfig)):
        if match["group"]:
            settings[match["group"]] = []
        else:
            settings[next(reversed(settings))].append(match["setting"])
    return settings


def _section(heading: str, rows: list[tuple[str, ...]]) -> str:
    return f"### {heading}\n\n{_table(('setting', 'default', 'value', 'meaning'), rows)}"


def _row(item: Field[Any]) -> tuple[str, ...]:
    rule = rule_of(item.name)
    allowed = _allowed(RunConfig.__annotations__[item.name], rule)
    return f"`{item.name.upper()}`", _default(item.default), allowed, rule.meaning


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if str(value) else "(empty)"


def _allowed(kind: type, rule: SettingRule) -> str:
    if rule.choices:
        return ", ".join(f"`{choice}`" for choice in rule.choices)
    if rule.minimum is None or rule.maximum is None:
        return " ".join(filter(None, (_TYPES[kind], rule.range_text())))
    return f"{_TYPES[kind]}, {_bound(rule.minimum)} to {_bound(rule.maximum)}"


def _bound(value: float) -> str:
    """Return a bound with all digits: 2147483647 rather than 2.14748e+09."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(_table_lines(headings, rows))


def _table_lines(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    sys.exit(main())

"""`leitstand stats check`: what is remarkable in the records of run directories, for people and for CI."""

from pathlib import Path
from typing import Any

import click

from service.cli.options import as_json_text, json_option
from service.cli.stats.cached_records import cached_records
from service.cli.stats.directories import show_problems
from service.cli.text_table import show_line
from service.run.records.findings.find import find_all
from service.run.records.findings.finding import Finding, point_of
from service.run.records.findings.quality import PLATEAU_STEPS

FOUND = 1


@click.command
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option(
    "--plateau-steps", type=click.IntRange(1), default=PLATEAU_STEPS, show_default=True, metavar="N",
    help="Steps without a better validation that are a plateau.",
)  # fmt: skip
@json_option
def check(folders: tuple[Path, ...], plateau_steps: int, as_json: bool) -> int:
    """Look for plateaus, regressions, anomalies and more.

    In the records of the run directories DIR.

    The exit code is 0 if no problem was found, 1 if one was, 2 if there are files that cannot be used.
    """
    records = cached_records(*folders)
    found: dict[Path, list[Finding]] = {}
    for folder in records.folders:
        found[folder] = find_all([point_of(record) for record in records.summaries(folder)], plateau_steps)
    if as_json:
        unreadable = [{"name": str(problem.path), "reason": problem.reason} for problem in records.problems]
        listed = [
            {"directory": str(folder), **_as_json(finding)} for folder, all_of in found.items() for finding in all_of
        ]
        click.echo(as_json_text({"findings": listed, "unreadable": unreadable}))
    else:
        for folder, all_of in found.items():
            _show(folder, all_of)
    is_problem = any(finding.is_problem for all_of in found.values() for finding in all_of)
    return show_problems(records) or (FOUND if is_problem else 0)


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        "evidence": finding.evidence,
        "advice": finding.advice,
        "is_problem": finding.is_problem,
    }


def _show(folder: Path, findings: list[Finding]) -> None:
    show_line(f"{folder}: {len(findings) or 'nothing'} found")
    for finding in findings:
        first, last = finding.first_step, finding.last_step
        steps = f"step {first}" if first == last else f"steps {first} to {last}"
        show_line(f"  {finding.kind}, {steps}: {finding.evidence}")
        show_line(f"    {finding.advice}")

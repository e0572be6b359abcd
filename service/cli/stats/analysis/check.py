"""`leitstand stats check`: what is remarkable in the records of runs, for people and for CI."""

from typing import Any

import click

from service.cli.options import as_json_text, json_option
from service.cli.server_options import Connect, connection_options
from service.cli.stats.options import runs_argument
from service.cli.stats.sources.chosen import chosen_sources
from service.cli.stats.tables import show_problems
from service.cli.text_table import show_line
from service.run.records.findings.find import find_all
from service.run.records.findings.finding import Finding, point_of
from service.run.records.findings.quality import PLATEAU_STEPS

FOUND = 1


@click.command
@runs_argument
@click.option(
    "--plateau-steps", type=click.IntRange(1), default=PLATEAU_STEPS, show_default=True, metavar="N",
    help="Steps without a better validation that are a plateau.",
)  # fmt: skip
@json_option
@connection_options
def check(connect: Connect, names: tuple[str, ...], plateau_steps: int, as_json: bool) -> int:
    """Look for plateaus, regressions, anomalies and more.

    In the records of the run directories DIR, or of the runs of a server.

    The exit code is 0 if no problem was found, 1 if one was, 2 if there are files that cannot be used.
    """
    with chosen_sources(connect, names) as sources:
        found = [
            (run, find_all([point_of(record) for record in run.summaries()], plateau_steps)) for run in sources.runs
        ]
    if as_json:
        place = "directory" if sources.are_directories else "run"
        unreadable = [{"name": str(problem.path), "reason": problem.reason} for problem in sources.problems]
        listed = [{place: run.title, **_as_json(finding)} for run, all_of in found for finding in all_of]
        click.echo(as_json_text({"findings": listed, "unreadable": unreadable}))
    else:
        for run, all_of in found:
            _show(run.title, all_of)
    is_problem = any(finding.is_problem for _, all_of in found for finding in all_of)
    return show_problems(sources) or (FOUND if is_problem else 0)


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        "evidence": finding.evidence,
        "advice": finding.advice,
        "is_problem": finding.is_problem,
    }


def _show(title: str, findings: list[Finding]) -> None:
    show_line(f"{title}: {len(findings) or 'nothing'} found")
    for finding in findings:
        first, last = finding.first_step, finding.last_step
        steps = f"step {first}" if first == last else f"steps {first} to {last}"
        show_line(f"  {finding.kind}, {steps}: {finding.evidence}")
        show_line(f"    {finding.advice}")

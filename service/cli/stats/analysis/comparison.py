"""What `leitstand stats compare` says of runs beside the values of each step."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from service.cli.options import as_json_text
from service.cli.server_options import Connect
from service.cli.stats.analysis.frames_gain import frames_gains
from service.cli.stats.sources.chosen import chosen_sources
from service.cli.stats.sources.run_source import RunSource, RunSources
from service.cli.stats.tables import plain, show_problems
from service.cli.text_table import number, show_line, side_by_side
from service.run.records.comparison import Difference, Place, differences, other_versions, places, scatter, verdict
from service.run.records.curves.axis import unit_of
from service.run.records.curves.columns import RunColumns, columns_of, plain_values

_PLACES = {
    "step": "step {:.0f}", "samples": "{:.0f} samples",
    "hours": "{:.2f} h of training", "minutes": "{:.1f} min of training",
}  # fmt: skip


def compare_runs(connect: Connect, names: Sequence[str], *, as_json: bool) -> int:
    """Print how several runs compare, those of directories or of a server; returns the exit code."""
    with chosen_sources(connect, names) as sources:
        summary = Summary(sources)
    if as_json:
        click.echo(as_json_text(summary.as_json()))
    else:
        summary.show()
    return show_problems(sources)


class Summary:
    """Several runs against each other."""

    def __init__(self, sources: RunSources) -> None:
        """Read all records of all runs."""
        self.runs: Sequence[RunColumns] = [columns_of(run.label, run.summaries()) for run in sources.runs]
        known = [(run, source) for run, source in zip(self.runs, sources.runs, strict=True) if run.steps]
        with_records = [run for run, _ in known]
        self.places: Sequence[Place] = places(with_records)
        self.differences: Sequence[Difference] = [
            *differences(with_records, {source.label: _settings(source) for _, source in known}),
            *other_versions({run.label: _versions(run, source) for run, source in known}),
        ]
        self.verdict = verdict(with_records)
        self.frames_gains = frames_gains(with_records, {source.label: _settings(source) for _, source in known})

    def as_json(self) -> dict[str, Any]:
        """Return all of it for programs."""
        return {
            "runs": [_run_as_json(run) for run in self.runs],
            "places": [
                {"axis": place.axis, "at": place.at, "quality_ki_value": _values(place)} for place in self.places
            ],
            "differences": {one.name: dict(one.values) for one in self.differences},
            "verdict": self.verdict,
            "frames_gains": [gain.as_json() for gain in self.frames_gains],
        }

    def show(self) -> None:
        """Print all of it."""
        rows = {
            "records": [str(len(run.steps)) for run in self.runs],
            "last step": [str(run.steps[-1]) if run.steps else "–" for run in self.runs],
            "best quality KI": [number(best[1]) if (best := run.best()) else "–" for run in self.runs],
            "  at step": [str(best[0]) if (best := run.best()) else "–" for run in self.runs],
            "scatter of one": [number(scatter(run)) for run in self.runs],
        }
        for place in self.places:
            found = [place.found.get(run.label) for run in self.runs]
            rows[f"at {_place_text(place)}"] = ["–" if one is None else number(one[1]) for one in found]
        columns = {run.label: [cells[index] for cells in rows.values()] for index, run in enumerate(self.runs)}
        click.echo(side_by_side({"": list(rows)}, columns, left=frozenset({0})))
        for one in self.differences:
            values = ", ".join(f"{label} {plain(value)}" for label, value in one.values.items())
            show_line(f"differs: {one.name}: {values}")
        show_line(self.verdict)
        for sentence in (sentence for gain in self.frames_gains for sentence in gain.sentences()):
            show_line(sentence)


def _settings(source: RunSource) -> Mapping[str, Any]:
    return {name: value for name, value, _ in source.settings()}


def _versions(run: RunColumns, source: RunSource) -> Mapping[str, str]:
    """Return the code and the machine of the start that made a run's last record."""
    found = source.versions(plain_values(run).get("provenance"))
    return {name: value[:12] if name in ("commit", "uncommitted") else value for name, value in found.items()}


def _place_text(place: Place) -> str:
    if place.axis != "time":
        return _PLACES[place.axis].format(place.at)
    unit, seconds = unit_of(3600 * place.at)
    return _PLACES[unit].format(3600 * place.at / seconds)


def _values(place: Place) -> dict[str, Any]:
    return {label: {"step": step, "value": value} for label, (step, value) in place.found.items()}


def _run_as_json(run: RunColumns) -> dict[str, Any]:
    best = run.best()
    return {
        "run": run.label,
        "records": len(run.steps),
        "last_step": run.steps[-1] if run.steps else None,
        "best_quality_ki_value": None if best is None else best[1],
        "best_step": None if best is None else best[0],
        "scatter": scatter(run),
    }

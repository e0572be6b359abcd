"""The recipes of docs/records.md, each run as a person would, on two made-up runs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.store.store import Store
from tests.service.harness.saved_records import save_record

QUALITIES = {"demo": 0.6, "other": 0.55}


def recipes(repository: Path) -> Iterator[tuple[str, str, str]]:
    """Title, language and text of every recipe."""
    page = (repository / "docs" / "records.md").read_text()
    section = page.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    for title, body in re.findall(r"### (.*?)\n(.*?)(?=\n### |\Z)", section, re.DOTALL):
        ((language, text),) = re.findall(r"```(\w+)\n(.*?)```", body, re.DOTALL)
        yield title, language, text


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, quality in QUALITIES.items():
        for step in range(500, 8001, 500):
            reached = quality + min(step, 2000) / 100_000
            save_record(
                tmp_path / "runs" / name, step, run_id=name, quality_ki_value=reached, quality_lr_value=0.5,
                samples_seen=8 * step, best_quality_ever=reached,
            )  # fmt: skip
    RunDirectory(tmp_path / "runs" / "demo").write_identity(RunIdentity("demo"))
    with closing(Store(tmp_path / "runs" / "demo" / "leitstand.db", create=True)) as store:
        store.open_run("demo", {})
        store.events.add("demo", 0, "started", {"step": 0, "world_size": 2})
        store.events.add("demo", 4000, "set", {"LR_SCALE": 0.5})
    return tmp_path


def run(place: Path, repository: Path, language: str, text: str) -> str:
    """What a recipe prints; its last line fails, if one does."""
    environment: Mapping[str, str] = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(repository),
        "LEITSTAND_CACHE": str(place / "cache"),
    }  # fmt: skip
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1 if "plateau" in text else 0), done.stderr
    return done.stdout


EXPECTED = {
    "Watch the improvement": "Statistik_8000.json",
    "Find the plateau": "No validation was better than the 0.6200 of step 2000 for 6000 steps.\n",
    "Compare two runs": "demo is better than other: 0.6200 (step 2000) against 0.5700 (step 2000)",
    "A table for a spreadsheet": "",
    "A figure for a paper": "figure.pdf",
    "A gate in CI": "",
    "A notebook": "{'demo': 0.62, 'other': 0.57",
    "With jq": "500\t0.605\n",
    "Repeat what was done to a run": "LR_SCALE=0.5",
    "Describe a run for an archive": "Training from step 0 on 2 ranks\n",
    "Keep a long run small": "nothing wrong",
}
MADE = {
    "A table for a spreadsheet": "both.csv",
    "A figure for a paper": "figure.pdf",
    "A gate in CI": "findings.json",
    "Repeat what was done to a run": "replay.json",
    "Keep a long run small": "runs/demo/report.html",
}


def test_there_is_an_expectation_for_every_recipe(repository: Path) -> None:
    assert [title for title, _, _ in recipes(repository)] == list(EXPECTED)


@pytest.mark.parametrize("title", EXPECTED)
def test_a_recipe_does_what_it_says(title: str, repository: Path, place: Path) -> None:
    (found,) = ((language, text) for name, language, text in recipes(repository) if name == title)
    printed = run(place, repository, *found)

    assert EXPECTED[title] in printed
    if title in MADE:
        assert (place / MADE[title]).stat().st_size > 0


def test_the_gate_stops_where_a_run_went_wrong(repository: Path, place: Path) -> None:
    (text,) = (text for name, _, text in recipes(repository) if name == "A gate in CI")
    save_record(place / "runs" / "demo", 8500, quality_ki_value=0.2)

    with pytest.raises(AssertionError):
        run(place, repository, "sh", text)

"""docs/records.md names every key of the record; its snippets run in tests/e2e on a real run."""

import re
from pathlib import Path

import pytest

from service.run.record_schema import FIELDS
from tests.service.harness.saved_records import save_record


def test_every_key_of_the_record_is_documented_with_its_type_and_meaning_in_its_order(repository: Path) -> None:
    page = (repository / "docs" / "records.md").read_text()
    rows = [line for line in page.partition("## All keys")[2].splitlines() if line.startswith("| `")]

    assert rows == [f"| `{field.name}` | {field.kind} | {field.meaning} |" for field in FIELDS]


def test_the_snippet_that_reads_records_prints_each_and_what_it_could_not_use(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (repository / "docs" / "records.md").read_text()
    (snippet,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "archived=True" in text)
    save_record(tmp_path / "runs" / "demo", 5)
    save_record(tmp_path / "runs" / "demo" / "archive" / "r1-branch-0", 10)
    (tmp_path / "runs" / "demo" / "Statistik_15.json").write_text("")
    monkeypatch.chdir(tmp_path)

    exec(snippet, {})

    assert capsys.readouterr().out.splitlines() == [
        "5 present branch 0.5", "10 r1-branch-0 0.5",
        f"not used: {tmp_path / 'runs' / 'demo' / 'Statistik_15.json'} (it is empty)",
    ]  # fmt: skip

"""docs/records.md names every key of the record; its snippets run in tests/e2e on a real run."""

from pathlib import Path

from service.run.record_schema import FIELDS


def test_every_key_of_the_record_is_documented_with_its_type_and_meaning_in_its_order(repository: Path) -> None:
    page = (repository / "docs" / "records.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]

    assert rows == [f"| `{field.name}` | {field.kind} | {field.meaning} |" for field in FIELDS]

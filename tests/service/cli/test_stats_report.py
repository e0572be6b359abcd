"""`leitstand stats report`: a run as one page that needs nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from service import __version__
from service.cli import exit_code
from service.commands import CommandState, Kind
from service.config.loader import LoadedConfig, plain_values
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.ledger.answer import LedgerAnswer
from service.run.ledger.time_spent import Activity, TimeSpent
from service.run.records.provenance import provenance
from service.store.store import Store
from tests.service.harness.saved_records import save_record


class Page(HTMLParser):
    """The addresses that a page names, its text, and whether every element is closed."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "demo"
    for step in range(500, 5001, 500):
        save_record(root, step, quality_ki_value=0.6 if step == 3000 else 0.5, quality_improvement_value=0.1)
    (root / "run.json").write_bytes(RunIdentity("r1").to_json())
    settings = plain_values(RunConfig(n_feats=96, api_token="hidden-one"))
    (root / "config.json").write_text(json.dumps({"settings": settings, "origins": {"N_FEATS": "file"}}))
    return root


def fill_store(root: Path) -> None:
    store = Store(root / "leitstand.db", create=True, keep_open=True)
    store.open_run("r1", {})
    store.runs.describe("r1", {"name": "city <b>", "note": "first try"}, actor="anna", source="cli")
    for state in (CommandState.DONE, None):
        command = store.commands.submit("r1", Kind.SET, {"LR_SCALE": 0.5}, actor="anna", source="cli", why="slow")
        if state is not None:
            store.commands.begin(command.id)
            store.commands.finish(command.id, state, step=2000, result={"LR_SCALE": 0.5})
    store.events.add("r1", 2500, "slow rank", {"rank": 1, "own_seconds": [0.1, 0.4]})
    store.close()


def save_previews(root: Path, step: int, count: int, side: int = 32) -> None:
    folder = root / "previews" / f"step_{step}"
    folder.mkdir(parents=True)
    for index in range(count):
        Image.effect_noise((3 * side, side), 90).convert("RGB").save(folder / f"city_{index}.webp", quality=90)


def report(*arguments: str | Path) -> int:
    return exit_code(["stats", "report", *map(str, arguments)])


def test_a_report_is_one_page_that_asks_nobody_for_anything(run: Path, tmp_path: Path) -> None:
    save_previews(run, 5000, 2)
    assert report(run, "--out", tmp_path / "report.html") == 0
    page = Page(tmp_path / "report.html")

    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "default-src 'none'" in (tmp_path / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(", (tmp_path / "report.html").read_text())


def tell_ledger(root: Path) -> LedgerAnswer:
    """Let the store tell of a rank that was killed, and of a rollback; returns the ledger as the API has it."""
    store = Store(root / "leitstand.db", create=True, keep_open=True)
    seconds = {**dict.fromkeys(Activity, 0.0), Activity.TRAINING: 3000.0, Activity.VALIDATING: 600.0}
    spent = TimeSpent(1.7e9, 1.7e9 + 3600, 5000, 1.7e9 + 1, seconds).as_dict()
    store.open_run("r1", {})
    store.events.add("r1", 0, "registered", {"began_at": 1.7e9, "restarts": 0, "previous": None})
    failure = {"rank": 1, "how": "was ended by SIGKILL", "detected_at": 1.7e9, "training_at": 1.7e9 + 2.5}
    store.events.add("r1", 9, "recovered", {**failure, "source": "rank 0", "steps_lost": 0, "reason": "Rank 1 ended."})
    rolled = {"from_step": 5000, "checkpoint": "step_0004000", "reason": "a person asked for it", "time_spent": spent}
    store.events.add("r1", 4000, "rollback", rolled)
    store.runs.update("r1", facts={"time_spent": spent}, state="finished", step=5000)
    run = store.runs.get("r1")
    assert run is not None
    ledger = store.ledgers.of(run, run.heartbeat_at)
    store.close()
    return ledger


def test_a_report_tells_what_the_time_went_to_and_what_went_wrong(run: Path, tmp_path: Path) -> None:
    ledger = tell_ledger(run)
    report(run, "--out", tmp_path / "report.html")
    report(run, "--out", tmp_path / "bericht.html", "--language", "de")
    text, german = (" ".join(Page(tmp_path / name).text.split()) for name in ("report.html", "bericht.html"))

    assert ledger.useful_time_ratio == pytest.approx(2400 / 3600)
    assert "Time and incidents" in text
    for part in ("useful66.7 %0:40:00", "done again16.7 %0:10:00", "validating16.7 %0:10:00", "all100.0 %1:00:00"):
        assert part in text
    assert "rank killed (1)from the state of rank 0, after 2.5 s0launcher" in text
    assert "rollbackfrom step_0004000" in text
    assert "registered" not in text
    for part in ("Zeit und Vorfälle", "genutzt66,7 %0:40:00", "Rang getötet (1)mit dem Zustand von rank 0, nach 2,5 s"):
        assert part in german


def test_a_report_tells_the_best_the_settings_what_people_did_and_what_happened(run: Path, tmp_path: Path) -> None:
    fill_store(run)
    report(run, "--out", tmp_path / "report.html")
    text = " ".join(Page(tmp_path / "report.html").text.split())

    assert "Report of city <b>" in text
    assert "first try" in text
    assert "best quality KI, at step 3000" in text
    assert (
        text.count("set done at step 2000: LR_SCALE 0.5 (why: slow) (anna)") == 5
    )  # marked in four charts, and listed
    assert "set queued" not in text
    assert "rank 1 is slower than the others" in text
    assert "N_FEATS96file" in text
    assert "hidden-one" not in text
    assert "STORE_URL" not in text


def test_a_report_tells_the_code_and_the_machine_if_records_name_their_provenance(run: Path, tmp_path: Path) -> None:
    loaded = LoadedConfig(RunConfig(), {})
    sha256 = provenance.write(RunDirectory(run), loaded, {"torch": "2.13.0+cpu"})
    save_record(run, 5500, provenance=sha256)
    report(run, "--out", tmp_path / "report.html")
    text = Page(tmp_path / "report.html").text

    assert "PyTorch2.13.0+cpu" in text
    assert f"Leitstand{__version__}" in text


def test_a_report_is_german_when_asked_for_with_its_numbers(run: Path, tmp_path: Path) -> None:
    for step in range(5500, 9001, 500):
        save_record(run, step, quality_ki_value=0.5)
    report(run, "--language", "de", "--out", tmp_path / "bericht.html")
    text = " ".join(Page(tmp_path / "bericht.html").text.split())

    assert "Bericht über demo" in text
    assert "beste Qualität KI, bei Schritt 3000" in text
    assert "0,6000" in text
    assert "Keine Validierung war besser als die 0,6000 von Schritt 3000, seit 6000 Schritten." in text
    assert '<html lang="de">' in (tmp_path / "bericht.html").read_text()


def test_pictures_are_those_of_the_first_the_best_and_the_last_validation_and_no_other_file(
    run: Path, tmp_path: Path
) -> None:
    for step in (500, 1000, 3000, 5000):
        save_previews(run, step, 2)
    (run / "previews" / "step_5000" / "city_0.webp").write_bytes(b"no picture")
    report(run, "--out", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()

    assert re.findall(r"<h3>step (\d+)</h3>", html) == ["500", "3000", "5000"]
    assert html.count("<img ") == 5


def test_a_report_of_200_records_with_large_pictures_has_at_most_3_mb(tmp_path: Path) -> None:
    root = tmp_path / "long"
    layers = {f"Forward_Block_{index:02d}": 50.0 for index in range(40)}
    for step in range(500, 100_001, 500):
        save_record(root, step, quality_ki_value=step / 100_001, layer_activity_map=layers)
    for step in (500, 100_000):
        save_previews(root, step, 6, side=400)
    report(root, "--out", tmp_path / "report.html")

    assert 1_500_000 < (tmp_path / "report.html").stat().st_size <= 3_000_000


def test_a_damaged_store_or_record_is_named_and_the_rest_is_shown(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "leitstand.db").write_bytes(b"this is no database at all" * 50)
    (run / "Statistik_7.json").write_text("{")
    assert report(run, "--out", tmp_path / "report.html") == 2

    assert "without events: file is not a database" in capsys.readouterr().err
    text = Page(tmp_path / "report.html").text
    assert "Statistik_7.json" in text
    assert "best quality KI" in text


def test_a_run_without_records_is_a_page_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_bytes(RunIdentity("r1").to_json())
    assert report(tmp_path / "empty", "--out", tmp_path / "report.html") == 0

    assert "There is no record yet." in Page(tmp_path / "report.html").text


def test_of_a_directory_without_a_run_and_without_records_no_page_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()

    assert report(tmp_path / "empty", "--out", tmp_path / "report.html") == 2

    said = capsys.readouterr().err.splitlines()
    assert said[0] == "No record yet: one is saved after every validation."
    assert said[1].startswith(f"unreadable: {tmp_path / 'empty'} (")
    assert not (tmp_path / "report.html").exists()

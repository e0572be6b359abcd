"""Files of records: never in the place of one that this trainer did not write."""

import errno
import gzip
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ddp.recording.record_files import RecordFiles
from service.atomic_files import write_atomically
from service.run.directory import RunDirectory

RUN = "run0"
NAME = "Statistik_5.json"
ARCHIVED = f"archive/{RUN}-other-trainer"


def content(who: str, run_id: str = RUN) -> bytes:
    return json.dumps({"run_id": run_id, "who": who}).encode()


def records(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): json.loads(path.read_bytes())["who"] for path in root.rglob("Statistik_*")}


def files(root: Path, told: list[Any] | None = None) -> RecordFiles:
    return RecordFiles(RunDirectory(root), RUN, on_kept=(told if told is not None else []).append)


def test_two_trainers_in_one_directory_keep_all_their_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    first, second = files(tmp_path), files(tmp_path, told)
    first.write(NAME, content("first"))
    first.write("Statistik_6.json", content("first"))
    (tmp_path / "previews/step_5").mkdir(parents=True)

    second.write(NAME, content("second"))
    second.write("Statistik_6.json", content("second"))
    first.write("Statistik_7.json", content("first"))

    assert records(tmp_path) == {
        NAME: "second", "Statistik_6.json": "second", "Statistik_7.json": "first",
        f"{ARCHIVED}/{NAME}": "first", f"{ARCHIVED}/Statistik_6.json": "first",
    }  # fmt: skip
    assert (tmp_path / ARCHIVED / "previews/step_5").is_dir()
    assert [it["name"] for it in told] == [NAME]
    assert caplog.text.count("is not of this trainer") == 1


def test_a_trainer_writes_its_own_records_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    earlier = files(tmp_path)
    earlier.write(NAME, content("at first"))
    assert earlier.write(NAME, content("again"))[0] == tmp_path
    later = files(tmp_path)
    later.write(NAME, content("after a resume"))

    assert records(tmp_path) == {NAME: "after a resume"}
    assert caplog.text == ""


@pytest.mark.parametrize("what", [content("other run", "run1"), b'{"who": "damaged"'])
def test_what_is_of_another_run_or_damaged_stays(tmp_path: Path, what: bytes) -> None:
    (tmp_path / NAME).write_bytes(what)

    files(tmp_path).write(NAME, content("mine"))

    assert (tmp_path / NAME).read_bytes() == content("mine")
    assert (tmp_path / ARCHIVED / NAME).read_bytes() == what


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.timeout(30)
def test_what_is_no_file_gives_way_to_a_record(tmp_path: Path, make: Any) -> None:
    make(tmp_path / NAME)

    files(tmp_path).write(NAME, content("first"))

    assert json.loads((tmp_path / NAME).read_bytes())["who"] == "first"
    assert (tmp_path / ARCHIVED / NAME).exists()


def test_a_record_of_an_earlier_start_that_another_changed_since_stays(tmp_path: Path) -> None:
    files(tmp_path).write(NAME, content("at first"))
    mine = files(tmp_path)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).write_bytes(content("other's"))

    mine.write(NAME, content("mine"))

    assert records(tmp_path) == {NAME: "mine", f"{ARCHIVED}/{NAME}": "other's"}


def test_the_same_record_is_no_other(tmp_path: Path) -> None:
    first, second = files(tmp_path), files(tmp_path)
    first.write(NAME, content("both"))
    second.write(NAME, content("both"))

    assert records(tmp_path) == {NAME: "both"}


def test_the_archive_replaces_no_record_either(tmp_path: Path) -> None:
    one, two, three = files(tmp_path), files(tmp_path), files(tmp_path)
    one.write(NAME, content("one"))
    two.write(NAME, content("two"))
    three.write(NAME, content("three"))

    assert records(tmp_path) == {NAME: "three", f"{ARCHIVED}/{NAME}": "one", f"{ARCHIVED}-2/{NAME}": "two"}


def test_of_many_trainers_at_once_every_record_stays(tmp_path: Path) -> None:
    gate = threading.Barrier(3)

    def write(who: int) -> None:
        mine = files(tmp_path)
        gate.wait()
        for step in range(20):
            mine.write(f"Statistik_{step}.json", content(f"{who}"))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))

    assert len(records(tmp_path)) == 60
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_file_system_without_hard_links_replaces_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    first, second = files(tmp_path), files(tmp_path)
    first.write(NAME, content("first"))
    second.write(NAME, content("second"))

    assert records(tmp_path) == {NAME: "second", f"{ARCHIVED}/{NAME}": "first"}
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / NAME, b"third", replaces=False)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_guest_writes_into_the_archive_alone(tmp_path: Path) -> None:
    owner, guest = files(tmp_path), files(tmp_path)
    owner.write(NAME, content("owner"))
    guest.write(NAME, content("guest"), guest.guest_folder(NAME))
    guest.write(NAME, content("guest again"), guest.guest_folder(NAME))

    assert records(tmp_path) == {
        NAME: "owner", f"{ARCHIVED}/{NAME}": "guest", f"{ARCHIVED}-2/{NAME}": "guest again"
    }  # fmt: skip


def test_a_record_takes_the_place_of_its_runs_packed_one_and_another_runs_packed_one_stays(tmp_path: Path) -> None:
    write_atomically(tmp_path / f"{NAME}.gz", gzip.compress(content("earlier")))
    write_atomically(tmp_path / "Statistik_6.json.gz", gzip.compress(content("other", "another run")))
    trainer = files(tmp_path)
    trainer.write(NAME, content("now"))
    trainer.write("Statistik_6.json", content("now"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["Statistik_5.json", "Statistik_6.json", "archive"]
    assert [path.name for path in (tmp_path / ARCHIVED).iterdir()] == ["Statistik_6.json.gz"]

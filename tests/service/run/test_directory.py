"""Taking possession of a run directory: nothing is deleted, nothing is used by two trainers."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.config.loader import load_config
from service.errors import RunDirectoryError
from service.run.claim import Claim, claim
from service.run.directory import RunDirectory, require_writable, write_config
from service.run.identity import RunIdentity

CONTENT = {
    "Statistik_500.json": b"a", "Statistik_1000.json": b"b", "training.log": b"c", "config.json": b"{}",
    "leitstand.db": b"d", "leitstand.db-wal": b"e", "leitstand.db-shm": b"f", "checkpoints/step_0000500/model.pt": b"g",
    "previews/step_500/x.webp": b"h", "tensorboard/events": b"i",
}  # fmt: skip
FOREIGN = {"notes.md": b"mine", "Statistik_old.json": b"mine too", "videos/film.mp4": b"film"}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def fill(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def release(taken: Claim) -> str:
    taken.lock.close()
    return taken.identity.run_id


def test_the_places_are_the_published_ones(directory: RunDirectory) -> None:
    places = [directory.store, directory.log, directory.config, directory.identity, directory.checkpoints]

    assert [path.name for path in [*places, directory.previews]] == [
        "leitstand.db", "training.log", "config.json", "run.json", "checkpoints", "previews",
    ]  # fmt: skip


def test_an_empty_place_is_claimed_with_a_new_id(directory: RunDirectory) -> None:
    assert directory.run_id() is None
    assert not directory.holds_run()

    run_id = release(claim(directory, resume=False, fresh=False))

    assert directory.run_id() == run_id
    assert len(run_id) == 12


def test_a_resume_keeps_the_id_and_starts_anew_where_nothing_is(directory: RunDirectory) -> None:
    first = release(claim(directory, resume=True, fresh=False))

    assert release(claim(directory, resume=True, fresh=False)) == first


def test_without_resume_or_fresh_a_run_is_not_touched(directory: RunDirectory) -> None:
    fill(directory.root, CONTENT)
    before = digests(directory.root)

    with pytest.raises(
        RunDirectoryError, match="already holds a run: continue it with --resume, archive it with --fresh"
    ):
        claim(directory, resume=False, fresh=False)

    assert digests(directory.root) == before


def test_fresh_moves_every_byte_into_the_archive_and_leaves_other_files(directory: RunDirectory) -> None:
    first = release(claim(directory, resume=False, fresh=False))
    fill(directory.root, CONTENT | FOREIGN)
    before = digests(directory.root)

    second = release(claim(directory, resume=False, fresh=True))

    after = digests(directory.root)
    assert second != first
    assert {name: after[f"archive/{first}/{name}"] for name in [*CONTENT, "run.json"]} == {
        name: before[name] for name in [*CONTENT, "run.json"]
    }
    assert {name for name in after if not name.startswith("archive/")} == {*FOREIGN, "run.json"}


def test_a_taken_archive_folder_is_never_mixed_with_another(directory: RunDirectory) -> None:
    folders = []
    for content in (b"one", b"two", b"three"):
        fill(directory.root, {"training.log": content})
        folder = directory.archive()
        assert folder is not None
        folders.append((folder.name, (folder / "training.log").read_bytes()))

    assert folders == [("unnamed", b"one"), ("unnamed-2", b"two"), ("unnamed-3", b"three")]


def test_nothing_to_archive_makes_no_folder(directory: RunDirectory) -> None:
    assert directory.archive() is None

    directory.root.mkdir()

    assert directory.archive() is None
    assert list(directory.root.iterdir()) == []


@pytest.mark.parametrize(
    ("run_id", "shown"),
    [
        (None, "None"), (5, "5"), ("", "''"), ("../../x", "'../../x'"), ("..", "'..'"), (".hidden", "'.hidden'"),
        ("a/b", "'a/b'"), ("a\\b", r"'a\\\\b'"), ("a\nb", r"'a\\nb'"), ("x" * 129, "'xxx"), ("ü" * 65, "'üüü"),
        ("a\x00b", r"'a\\x00b'"), ("x" * 10_000, "'xxx"), (True, "True"), (["a"], r"\['a'\]"),
    ],
)  # fmt: skip
def test_an_id_that_can_name_no_folder_is_refused(directory: RunDirectory, run_id: object, shown: str) -> None:
    directory.root.mkdir()
    directory.identity.write_text(json.dumps({"run_id": run_id}))

    with pytest.raises(RunDirectoryError, match=rf"run\.json is damaged \(its run_id is {shown}.*start with --fresh"):
        claim(directory, resume=True, fresh=False)

    release(claim(directory, resume=False, fresh=True))
    assert (directory.root / "archive" / "unnamed" / "run.json").exists()


@pytest.mark.parametrize("run_id", ["5f0c1e77ab42", "run-1", "my run", "lauf.2", "größe", "x" * 128])
def test_an_id_of_a_persons_choice_is_taken(directory: RunDirectory, run_id: str) -> None:
    directory.root.mkdir()
    directory.identity.write_text(json.dumps({"run_id": run_id}, ensure_ascii=False), encoding="utf-8")

    assert directory.run_id() == run_id


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.timeout(30)
def test_an_identity_that_is_no_file_is_said_at_once_and_can_be_archived(
    directory: RunDirectory, make: Callable[[Path], object]
) -> None:
    directory.root.mkdir(parents=True, exist_ok=True)
    make(directory.identity)

    with pytest.raises(RunDirectoryError, match=r"run\.json cannot be read \(it is no ordinary file\); .* --fresh"):
        claim(directory, resume=True, fresh=False)

    claimed = claim(directory, resume=False, fresh=True)
    claimed.lock.close()
    assert directory.read_identity() == claimed.identity


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"run_id"', "[" * 100_000, '{"run_id": "a", "last_checkpoint": "b"}']
)
def test_a_damaged_identity_is_explained_and_can_be_archived(directory: RunDirectory, content: str) -> None:
    directory.root.mkdir()
    directory.identity.write_text(content)
    with pytest.raises(RunDirectoryError, match=r"run\.json is damaged .* start with --fresh to archive this run"):
        claim(directory, resume=True, fresh=False)

    release(claim(directory, resume=False, fresh=True))

    assert (directory.root / "archive" / "unnamed" / "run.json").read_text() == content


def test_two_trainers_never_share_a_directory_and_the_lock_dies_with_its_owner(directory: RunDirectory) -> None:
    program = f"""
import sys
from pathlib import Path
from service.run.claim import claim
from service.run.directory import RunDirectory
taken = claim(RunDirectory(Path({str(directory.root)!r})), resume=True, fresh=False)
print(taken.identity.run_id, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        run_id = owner.stdout.readline().strip()
        for fresh in (False, True):
            with pytest.raises(RunDirectoryError, match="Another trainer is working in"):
                claim(directory, resume=True, fresh=fresh)
        owner.kill()

    assert release(claim(directory, resume=True, fresh=False)) == run_id


def test_records_after_the_resumed_step_are_moved_aside(directory: RunDirectory) -> None:
    run_id = release(claim(directory, resume=False, fresh=False))
    fill(directory.root, {f"Statistik_{step}.json": b"x" for step in (5, 100, 150, 1000)})

    moved = directory.archive_records_after(100, directory.archive_of_resume(f"{run_id}-after-100"))

    assert sorted(path.name for path in moved) == ["Statistik_1000.json", "Statistik_150.json"]
    archived = directory.root / "archive" / f"{run_id}-after-100"
    assert sorted(path.name for path in archived.iterdir()) == ["Statistik_1000.json", "Statistik_150.json"]
    assert directory.archive_records_after(100, directory.archive_of_resume("again")) == []
    assert not directory.holds_archive("again")
    assert directory.archive_of_resume(archived.name).name == f"{archived.name}-2"


def test_previews_after_the_resumed_step_are_moved_aside_and_others_stay(directory: RunDirectory) -> None:
    run_id = release(claim(directory, resume=False, fresh=False))
    fill(
        directory.root,
        {f"previews/{name}/a.webp": b"x" for name in ("step_9", "step_100", "step_1000", "step_x", "own")},
    )

    directory.archive_records_after(100, directory.archive_of_resume(f"{run_id}-after-100"))

    archived = directory.root / "archive" / f"{run_id}-after-100" / "previews"
    assert [path.name for path in archived.iterdir()] == ["step_1000"]
    assert sorted(path.name for path in directory.previews.iterdir()) == ["own", "step_100", "step_9", "step_x"]


def test_the_effective_settings_are_written_with_their_origins_and_without_secrets(directory: RunDirectory) -> None:
    directory.root.mkdir()
    loaded = load_config(None, ["API_TOKEN=secret", "SCALE=2"], {})

    settings = write_config(directory, loaded, RunIdentity("run-1"))

    written = json.loads(directory.config.read_text())
    assert written.pop("run")["run_id"] == "run-1"
    assert written == {"settings": settings, "origins": {"API_TOKEN": "--set", "SCALE": "--set"}}
    assert settings["SCALE"] == 2
    assert "secret" not in directory.config.read_text()


def test_a_run_whose_identity_file_was_removed_keeps_its_id_and_says_so(directory: RunDirectory) -> None:
    directory.root.mkdir()
    identity = RunIdentity("run-1", init_from="runs/old", parent_run="run-0", parent_step=7)
    write_config(directory, load_config(None, [], {}), identity)
    fill(directory.root, {"training.log": b"c"})

    claimed = claim(directory, resume=True, fresh=False)
    claimed.lock.close()

    assert claimed.identity == directory.read_identity() == identity
    assert claimed.note is not None
    assert "run.json was missing and is written again: by config.json, this is run run-1" in claimed.note


@pytest.mark.parametrize("config", [b"{}", b'{"run": {"run_id": "../x"}}', b'{"run": 5}', b"[1]", b"\xff", None])
def test_a_run_that_nothing_names_becomes_a_new_one_and_says_so(directory: RunDirectory, config: bytes | None) -> None:
    fill(directory.root, {"Statistik_5.json": b"c", **({} if config is None else {"config.json": config})})

    claimed = claim(directory, resume=True, fresh=False)
    claimed.lock.close()

    assert claimed.note is not None
    assert f"it goes on as a new run, {claimed.identity.run_id}" in claimed.note
    again = claim(directory, resume=True, fresh=False)
    again.lock.close()
    assert (again.identity, again.note) == (claimed.identity, None)


def test_folders_that_were_made_before_the_first_start_miss_no_identity(directory: RunDirectory) -> None:
    directory.checkpoints.mkdir(parents=True)  # such as a volume
    directory.store.touch()

    claimed = claim(directory, resume=True, fresh=False)
    claimed.lock.close()

    assert claimed.note is None


def test_what_is_no_run_yet_has_no_identity_to_miss(directory: RunDirectory) -> None:
    directory.root.mkdir()
    write_config(directory, load_config(None, [], {}), RunIdentity("run-1"))

    claimed = claim(directory, resume=False, fresh=False)
    claimed.lock.close()

    assert claimed.identity.run_id != "run-1"
    assert claimed.note is None


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for root in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunDirectoryError, match=rf"DATA_ROOT {root} cannot be made: {tmp_path}/file is a file;"):
            require_writable(root)


def test_asking_whether_a_place_can_be_written_leaves_nothing_in_it(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")

    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_run_that_never_made_a_step_leaves_everything_but_records_where_it_is(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for name in ("leitstand.db", "run.json", ".lock", "Statistik_0.json", "Statistik_5.json"):
        (tmp_path / name).write_text("{}")

    moved = directory.archive_records_after(-1, tmp_path / "archive" / "left")

    assert sorted(path.name for path in moved) == ["Statistik_0.json", "Statistik_5.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"leitstand.db", "run.json", ".lock", "archive"}


def test_a_stores_companion_that_sqlite_takes_away_meanwhile_does_not_stop_the_archive(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(directory.root, CONTENT)
    rename = Path.rename

    def rename_after_a_reader_left(path: Path, target: Path) -> Path:
        if path.name == "leitstand.db":
            directory.root.joinpath("leitstand.db-wal").unlink(missing_ok=True)
            directory.root.joinpath("leitstand.db-shm").unlink(missing_ok=True)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_after_a_reader_left)

    archive = directory.archive()

    assert archive is not None
    assert (archive / "leitstand.db").read_bytes() == CONTENT["leitstand.db"]

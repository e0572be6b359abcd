"""Forking a run: a folder of its own that begins at a checkpoint of the parent, which stays as it is."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.errors import RunDirectoryError
from service.run.directory import STORE_COMPANIONS, RunDirectory
from service.run.identity import RunIdentity
from service.run.state import RunState
from service.store.fork import fork_run
from service.store.store import SeriesRow, Store
from tests.service.harness.checkpoints import save_checkpoint

ROOT = Path(__file__).parents[3]
PARENT = "5f0c1e77ab42"


@pytest.fixture
def parent(tmp_path: Path) -> RunDirectory:
    """A run at step 30 with checkpoints of 10 (the best) and 20, records of 10, 20 and 30, and a store of its own."""
    directory = RunDirectory(tmp_path / "parent")
    for step in (10, 20):
        save_checkpoint(directory, step, is_best=step == 10)
    (directory.checkpoints / "latest").symlink_to("step_0000020")
    (directory.checkpoints / "best").symlink_to("step_0000010")
    directory.write_identity(RunIdentity(PARENT, last_checkpoint=20))
    with closing(Store(directory.store, create=True)) as store:
        report(store)
    for step in (10, 20, 30):
        (directory.root / f"Statistik_{step}.json").write_text(json.dumps({"step_current": step, "run_id": PARENT}))
        (directory.previews / f"step_{step}").mkdir(parents=True)
        (directory.previews / f"step_{step}" / "a.webp").write_bytes(b"picture")
    return directory


def report(store: Store) -> None:
    store.open_run(PARENT, {"SCALE": 3})
    store.series.add(PARENT, [SeriesRow(step, float(step), {"loss": 1 / step}) for step in range(1, 31)])
    for step in (10, 20, 30):
        store.records.add(PARENT, step, {"step_current": step}, f"sha {step}")


def contents(root: Path) -> dict[str, Any]:
    """Every file of a folder, and where every link points."""
    paths = [path for path in root.rglob("*") if path.name not in STORE_COMPANIONS]
    files = {path: path.read_bytes() for path in paths if path.is_file()}
    return {**files, **{path: path.readlink() for path in paths if path.is_symlink()}}


def test_a_fork_has_an_id_of_its_own_and_everything_up_to_its_step(parent: RunDirectory, tmp_path: Path) -> None:
    before = contents(parent.root)
    target = RunDirectory(tmp_path / "runs" / "fork")

    made = fork_run(parent, target.root)

    assert contents(parent.root) == before
    identity = target.read_identity()
    assert identity == made.identity
    assert (made.identity.parent_run, made.identity.parent_step, made.identity.last_checkpoint) == (PARENT, 20, 20)
    assert made.identity.run_id != PARENT
    assert (made.records, made.log_points) == (2, 20)
    names = {str(path.relative_to(target.root)) for path in target.root.rglob("*") if path.is_file()}
    assert names - set(STORE_COMPANIONS) == {
        "run.json", "leitstand.db", "Statistik_10.json", "Statistik_20.json", "previews/step_10/a.webp",
        "previews/step_20/a.webp", "checkpoints/step_0000020/state.pt", "checkpoints/step_0000020/manifest.json",
    }  # fmt: skip
    assert (target.checkpoints / "latest").readlink() == Path("step_0000020")
    assert (target.root / "Statistik_20.json").read_bytes() == (parent.root / "Statistik_20.json").read_bytes()
    assert list((tmp_path / "runs").iterdir()) == [target.root]
    check_rows(Store(target.store), made.identity.run_id)


def test_what_a_killed_fork_had_made_is_removed_by_the_next(parent: RunDirectory, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from service.run.directory import RunDirectory\n"
        "from service.store import fork\n"
        "fork._copy_records = lambda *_: (print('under way', flush=True), sys.stdin.read())\n"
        "fork.fork_run(RunDirectory(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    target = tmp_path / "runs" / "fork"
    command = [sys.executable, "-c", program, str(parent.root), str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    assert list(target.parent.iterdir()) != []

    fork_run(parent, target)

    assert list(target.parent.iterdir()) == [target]


def check_rows(store: Store, run_id: str) -> None:
    row = store.runs.get(run_id)
    assert row is not None
    assert (row.state, row.step, row.config) == (RunState.STOPPED, 20, {"SCALE": 3})
    assert row.reason == f"forked from run {PARENT} at step 20; ready to resume"
    assert [(point.step, point.time) for point in store.series.find(run_id)] == [(n, float(n)) for n in range(1, 21)]
    assert [(copy.step, copy.sha256) for copy in store.records.find(run_id, limit=9)] == [
        (10, "sha 10"),
        (20, "sha 20"),
    ]


@pytest.fixture
def on_server(parent: RunDirectory, store_url: str) -> Iterator[Store]:
    """The parent reports to a server."""
    parent.store.unlink()
    with closing(Store(store_url)) as store:
        report(store)
        yield store


def test_a_fork_of_a_run_on_a_server_is_registered_there(
    parent: RunDirectory, on_server: Store, store_url: str, tmp_path: Path
) -> None:
    made = fork_run(parent, tmp_path / "fork", store_url=store_url)

    check_rows(on_server, made.identity.run_id)
    assert on_server.series.span(PARENT) == (1, 30)
    assert not (tmp_path / "fork" / "leitstand.db").exists()


def test_a_fork_of_a_run_without_any_store_has_no_curves(parent: RunDirectory, tmp_path: Path) -> None:
    parent.store.unlink()

    made = fork_run(parent, tmp_path / "fork")

    assert (made.records, made.log_points) == (2, 0)


@pytest.mark.parametrize("wanted", ["best", "10", "step_0000010"])
def test_another_checkpoint_can_be_named(parent: RunDirectory, tmp_path: Path, wanted: str) -> None:
    made = fork_run(parent, tmp_path / "fork", wanted)

    assert (made.identity.parent_step, made.records, made.log_points) == (10, 1, 10)
    assert (tmp_path / "fork" / "checkpoints" / "best").readlink() == Path("step_0000010")


def test_the_newest_whole_checkpoint_is_taken_and_a_damaged_one_that_is_named_is_refused(
    parent: RunDirectory, tmp_path: Path
) -> None:
    (parent.checkpoints / "step_0000020" / "state.pt").write_bytes(b"damaged")

    assert fork_run(parent, tmp_path / "fork").identity.parent_step == 10
    with pytest.raises(RunDirectoryError, match=r"step_0000020 is not what its manifest says; choose one of: 10\.$"):
        fork_run(parent, tmp_path / "other", "20")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_forked_is_one_sentence_and_leaves_nothing(parent: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    for source, target, checkpoint, reason in (
        (tmp_path / "taken", tmp_path / "fork", "latest", "holds no run"),
        (parent.root, tmp_path / "taken", "latest", "is not an empty folder"),
        (parent.root, parent.root / "archive" / "fork", "latest", "outside of it"),
        (parent.root, tmp_path / "fork", "7", "there is no checkpoint '7'"),
        (parent.root, tmp_path / "taken" / "file" / "fork", "latest", "cannot be made"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(RunDirectoryError, match=reason):
            fork_run(RunDirectory(source), target, checkpoint)
        assert [path for path in sorted(tmp_path.rglob("*")) if path.name not in STORE_COMPANIONS] == [
            path for path in before if path.name not in STORE_COMPANIONS
        ]

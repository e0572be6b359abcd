"""Saved states: whole or not at all, verified, pruned, archived, and loaded without running what they contain."""

import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.checkpoint.folder import FORMAT_VERSION, CheckpointFolder, Reason, SavedState, load_state, verify
from service import __version__
from service.errors import RunDirectoryError
from tests.harness.forked import StartPython


def state(value: float) -> dict[str, Any]:
    return {"weights": torch.full((3,), value), "progress": {"step": int(value)}}


def save(folder: CheckpointFolder, *steps: int, reason: Reason = Reason.SCHEDULE, is_best: bool = False) -> SavedState:
    """Save states whose value is their step; the last one is returned."""
    return [folder.save(step, state(step), reason=reason, is_best=is_best) for step in steps][-1]


def manifest(saved: SavedState) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((saved.folder / "manifest.json").read_text())
    return content


def change_manifest(saved: SavedState, **changes: Any) -> None:
    (saved.folder / "manifest.json").write_text(json.dumps({**manifest(saved), **changes}))


def put_bytes(saved: SavedState, content: bytes) -> None:
    """Other bytes in place of the state, with a manifest that fits them: what an attacker or a bug would leave."""
    (saved.folder / "state.pt").write_bytes(content)
    change_manifest(saved, sha256=sha256(content).hexdigest(), size_bytes=len(content))


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def usable_step(folder: CheckpointFolder) -> int:
    loaded = folder.newest_usable()
    assert loaded is not None
    assert loaded.state["weights"].tolist() == [loaded.saved.step] * 3
    return loaded.saved.step


def test_what_was_saved_is_loaded_and_the_links_follow(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    save(folder, 500, is_best=True)
    saved = save(folder, 1000)

    assert usable_step(folder) == 1000
    assert load_state(saved)["weights"].tolist() == [1000.0, 1000.0, 1000.0]
    assert folder.steps() == [1000, 500]
    assert os.readlink(tmp_path / "checkpoints" / "latest") == "step_0001000"
    assert os.readlink(tmp_path / "checkpoints" / "best") == "step_0000500"


def test_the_manifest_says_why_by_what_and_how_long(tmp_path: Path) -> None:
    saved = save(CheckpointFolder(tmp_path), 7, reason=Reason.LEAVE, is_best=True)

    written = manifest(saved)
    assert {key: written[key] for key in ("format_version", "step", "reason", "is_best")} == {
        "format_version": FORMAT_VERSION,
        "step": 7,
        "reason": "leave",
        "is_best": True,
    }
    assert written["leitstand_version"] == __version__
    assert written["torch_version"] == str(torch.__version__)
    assert written["write_seconds"] >= 0
    assert written["size_bytes"] == (saved.folder / "state.pt").stat().st_size
    assert written["sha256"] == sha256((saved.folder / "state.pt").read_bytes()).hexdigest()


@pytest.mark.parametrize("elements", [0, 1, 1_000_003, 3_000_000])
def test_tensors_of_every_size_come_back_bit_for_bit(tmp_path: Path, elements: int) -> None:
    tensors = [torch.rand(elements), torch.rand(7), torch.rand(elements)]
    saved = CheckpointFolder(tmp_path).save(1, {"tensors": tensors}, reason=Reason.FINAL, is_best=False)

    assert verify(saved.folder) is None
    assert all(torch.equal(a, b) for a, b in zip(load_state(saved)["tensors"], tensors, strict=True))


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 5)
    saved = folder.save(5, state(2.0), reason=Reason.SCHEDULE, is_best=False)

    assert load_state(saved)["weights"][0] == 2.0
    assert names(tmp_path) == ["latest", "step_0000005"]


def test_a_commanded_or_best_state_saved_again_at_its_step_stays_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 5, reason=Reason.COMMAND, is_best=True)
    saved = save(folder, 5, reason=Reason.SCHEDULE)

    assert (manifest(saved)["reason"], manifest(saved)["is_best"]) == ("command", True)


def test_a_state_that_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)

    with pytest.raises(TypeError, match="could not be loaded again"):
        folder.save(2, {"progress": Path("not a plain value")}, reason=Reason.SCHEDULE, is_best=False)

    assert names(tmp_path) == ["latest", "step_0000001"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("truncate", "state.pt is not what its manifest says"),
        ("flip", "state.pt is not what its manifest says"),
        ("no state", "state.pt: No such file"),
        ("no manifest", "manifest.json: No such file"),
        ("rubbish manifest", "manifest.json is damaged"),
        ("endless manifest", "manifest.json is damaged"),
        ("list manifest", "manifest.json is damaged"),
        ("newer format", "it has format 3, this version reads format 2"),
        ("older format", "it has format 1, this version reads format 2"),
        ("other step", "its manifest says step 77"),
    ],
)
def test_a_damaged_newest_state_is_passed_over_and_named_with_the_reason(
    tmp_path: Path, damage: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    newest = save(folder, 2)
    hurt(newest, damage)

    assert why in (verify(newest.folder) or "")
    assert usable_step(folder) == 1
    assert f"Checkpoint step_0000002 cannot be used: {why}" in caplog.text


def hurt(saved: SavedState, damage: str) -> None:
    path, paper = saved.folder / "state.pt", saved.folder / "manifest.json"
    content = path.read_bytes()
    deeds: dict[str, Callable[[], object]] = {
        "truncate": lambda: path.write_bytes(content[: len(content) // 2]),
        "flip": lambda: path.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
        "no state": path.unlink,
        "no manifest": paper.unlink,
        "rubbish manifest": lambda: paper.write_bytes(b"{\xff"),
        "endless manifest": lambda: paper.write_text("[" * 200_000),
        "list manifest": lambda: paper.write_text("[2]"),
        "newer format": lambda: change_manifest(saved, format_version=3),
        "older format": lambda: change_manifest(saved, format_version=1),
        "other step": lambda: change_manifest(saved, step=77),
    }
    deeds[damage]()


def test_every_single_flipped_bit_and_every_length_is_noticed(tmp_path: Path) -> None:
    saved = save(CheckpointFolder(tmp_path), 1)
    path = saved.folder / "state.pt"
    content = path.read_bytes()
    for position in random.Random(0).sample(range(len(content)), 100):
        path.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        assert verify(saved.folder) is not None
        path.write_bytes(content[:position])
        assert verify(saved.folder) is not None
    path.write_bytes(content)
    assert verify(saved.folder) is None


class Trap:
    """Creates a file when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


def trapped(path: Path, packing: str, template: Path) -> bytes:
    """A trap as a bare pickle, or inside the archive that torch writes."""
    trap = pickle.dumps({"weights": Trap(path)})
    if packing == "bare":
        return trap
    target = path.with_name("trap.pt")
    with zipfile.ZipFile(template) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, trap if name.endswith("data.pkl") else source.read(name))
    return target.read_bytes()


@pytest.mark.parametrize("packing", ["bare", "archive"])
def test_a_hostile_state_is_not_run_but_passed_over(
    tmp_path: Path, packing: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, sprung = CheckpointFolder(tmp_path / "checkpoints"), tmp_path / "sprung"
    save(folder, 1)
    newest = save(folder, 2)
    put_bytes(newest, trapped(sprung, packing, newest.folder / "state.pt"))

    assert verify(newest.folder) is None
    assert usable_step(folder) == 1
    with pytest.raises(RunDirectoryError, match=r"step_0000002 cannot be used: state.pt cannot be loaded"):
        load_state(newest)
    with pytest.raises(RunDirectoryError, match=r"step_0000002 cannot be used.*choose one of: 1\.$"):
        folder.find("2")
    assert not sprung.exists()
    assert "step_0000002 cannot be used: state.pt cannot be loaded" in caplog.text


def test_the_trap_of_these_tests_springs_when_it_is_unpickled_without_care(tmp_path: Path) -> None:
    pickle.loads(trapped(tmp_path / "sprung", "bare", tmp_path))
    assert (tmp_path / "sprung").exists()


def test_rubbish_with_a_fitting_manifest_is_one_sentence_whatever_torch_makes_of_it(tmp_path: Path) -> None:
    saved = save(CheckpointFolder(tmp_path), 1)
    content, chance = (saved.folder / "state.pt").read_bytes(), random.Random(0)
    rubbish = [b"", b"PK\x03\x04", b"\x80", content[:100], content[:-30], chance.randbytes(1000), pickle.dumps([1, 2])]
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "no state")
    rubbish.append((tmp_path / "other.zip").read_bytes())
    for bytes_of_no_state in rubbish:
        put_bytes(saved, bytes_of_no_state)
        with pytest.raises(
            RunDirectoryError, match=r"^Checkpoint step_0000001 cannot be used: .*; choose another one\.$"
        ):
            load_state(saved)


def test_a_state_that_is_no_dictionary_is_refused(tmp_path: Path) -> None:
    saved = save(CheckpointFolder(tmp_path), 1)
    torch.save([1, 2, 3], tmp_path / "list.pt")
    put_bytes(saved, (tmp_path / "list.pt").read_bytes())

    with pytest.raises(RunDirectoryError, match="holds no state but a list"):
        load_state(saved)


def test_states_without_one_that_can_be_used_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    hurt(save(folder, 1), "truncate")

    with pytest.raises(RunDirectoryError, match="restore one from a backup"):
        folder.newest_usable()


def test_no_states_at_all_is_no_error(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none").newest_usable() is None


def test_the_newest_up_to_a_step_is_found(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 0, 10, 20)

    found = [folder.newest_usable(at_most) for at_most in (5, 10, 19, None)]
    assert [loaded.saved.step for loaded in found if loaded] == [0, 10, 10, 20]
    assert folder.newest_usable(-1) is None


@pytest.mark.parametrize(
    ("wanted", "step"), [("latest", 30), ("best", 0), ("20", 20), ("step_0000020", 20), ("0", 0), ("step_0000000", 0)]
)
def test_a_state_is_found_by_the_name_a_person_gives(tmp_path: Path, wanted: str, step: int) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 0, is_best=True)
    save(folder, 20, 30)

    assert folder.find(wanted).saved.step == step


@pytest.mark.parametrize("link", ["latest", "best"])
@pytest.mark.parametrize("target", [None, "step_0000099", "../elsewhere", "step_0000020/state.pt"])
def test_a_link_that_is_missing_or_names_no_state_is_made_up_for_from_the_manifests(
    tmp_path: Path, link: str, target: str | None
) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10, 20, is_best=True)
    (tmp_path / link).unlink()
    if target is not None:
        (tmp_path / link).symlink_to(target)

    assert folder.find(link).saved.step == 20


@pytest.mark.parametrize("wanted", ["best", "7", "step_0000007", "", "../10", "step_", "9" * 5000, "１０"])
def test_a_name_without_a_state_is_an_error_that_names_those_that_exist(tmp_path: Path, wanted: str) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10, 20)

    with pytest.raises(RunDirectoryError, match=r"There is no checkpoint .*; choose one of: 20, 10\.$"):
        folder.find(wanted)


def test_pruning_keeps_the_newest_the_best_the_latest_and_what_was_commanded(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10, reason=Reason.BEST, is_best=True)
    save(folder, 20, reason=Reason.BEST, is_best=True)
    save(folder, 30, reason=Reason.COMMAND)
    save(folder, 40, reason=Reason.LEAVE)
    save(folder, 50, 60, 70)
    hurt(save(folder, 45), "older format")
    save(folder, 35, reason=Reason.FINAL)  # `latest`, though not the highest

    assert folder.prune(0) == []
    assert folder.prune(2) == [50, 40, 10]
    assert folder.steps() == [70, 60, 45, 35, 30, 20]
    assert folder.prune(2) == []
    assert names(tmp_path) == ["best", "latest", *(f"step_00000{step}" for step in (20, 30, 35, 45, 60, 70))]


def test_a_best_state_whose_link_was_never_moved_is_not_pruned(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10, 20, is_best=True)
    (tmp_path / "best").unlink()
    (tmp_path / "best").symlink_to("step_0000010")
    save(folder, 30)

    assert folder.prune(1) == []


def test_a_state_that_cannot_be_deleted_is_named_hidden_and_deleted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10, 20, 30)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", failing_at(1, shutil.rmtree, []))
        assert folder.prune(1) == [20, 10]

    assert "Checkpoint step_0000020 cannot be removed (No space left on device)" in caplog.text
    assert folder.steps() == [30]
    assert usable_step(folder) == 30
    assert names(tmp_path) == ["latest", "step_0000030"]


def test_a_state_that_cannot_even_be_renamed_stays_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10, 20, 30)
    monkeypatch.setattr(os, "rename", failing_at(1, os.rename, []))

    assert folder.prune(1) == [10]
    assert folder.steps() == [30, 20]
    assert "step_0000020 cannot be removed" in caplog.text


def test_later_states_are_archived_and_the_links_follow(tmp_path: Path) -> None:
    folder, target = CheckpointFolder(tmp_path / "checkpoints"), tmp_path / "archive" / "branch"
    save(folder, 10, 20, is_best=True)
    save(folder, 30)
    save(folder, 40, is_best=True)

    assert folder.archive_after(30, target) == [40]
    assert names(target / "checkpoints") == ["step_0000040"]
    assert verify(target / "checkpoints" / "step_0000040") is None
    assert (folder.find("latest").saved.step, folder.find("best").saved.step) == (30, 20)
    assert folder.archive_after(15, target) == [30, 20]
    assert {os.readlink(tmp_path / "checkpoints" / link) for link in ("latest", "best")} == {"step_0000010"}
    assert folder.archive_after(0, target) == [10]
    assert names(tmp_path / "checkpoints") == []


def test_archiving_nothing_makes_no_folder(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    save(folder, 10)

    assert folder.archive_after(10, tmp_path / "archive") == []
    assert not (tmp_path / "archive").exists()


def failing_at(number: int, real: Callable[..., Any], failed: list[int]) -> Callable[..., Any]:
    """The real function, but its call of this number (from 1) fails as on a full disk, which `failed` notes."""
    calls = iter(range(1, 1000))

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if next(calls) == number:
            failed.append(number)
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    return fail_once


@pytest.mark.parametrize("function", ["fsync", "rename", "replace", "symlink", "mkdir", "open", "unlink", "readlink"])
@pytest.mark.parametrize("new_step", [1, 2])
def test_whatever_call_fails_the_old_or_the_new_state_is_whole(tmp_path: Path, function: str, new_step: int) -> None:
    """One call after the other fails; a state of a new step, and one that replaces another of its step."""
    failures = 0
    for number in range(1, 100):
        calls: list[int] = []
        root = tmp_path / str(number)
        folder = CheckpointFolder(root)
        save(folder, 1, is_best=True)
        new = {"weights": torch.full((3,), 9.0)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, function, failing_at(number, getattr(os, function), calls))
            try:
                folder.save(new_step, new, reason=Reason.SCHEDULE, is_best=True)
                failed = False
            except OSError:
                failed = True
        check_whole(folder, root, new_step, failed=failed)
        failures += failed
        if not calls:  # all calls have failed once; some failures do no harm
            break
    assert failures > 0 or function in ("unlink", "readlink")
    assert number < 99


def check_whole(folder: CheckpointFolder, root: Path, new_step: int, *, failed: bool) -> None:
    loaded = folder.newest_usable()
    assert loaded is not None
    value = loaded.state["weights"][0].item()
    assert value in (1.0, 9.0)
    assert failed or (value, loaded.saved.step) == (9.0, new_step)
    assert all(verify(root / name) is None for name in names(root) if name.startswith("step_"))
    assert set(names(root)) <= {"latest", "best", "step_0000001", f"step_{new_step:07d}"}
    assert folder.find("latest").saved.step in folder.steps()
    assert folder.find("best").saved.step in folder.steps()


@contextmanager
def files_at_most(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow further, as a full disk or a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room_bytes", [0, 1, 1000, 5_000_000, 11_999_999])
@pytest.mark.parametrize("parts", [1, 100])
def test_a_disk_without_room_leaves_the_earlier_state_and_no_rubbish(
    tmp_path: Path, room_bytes: int, parts: int
) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    large = {str(part): torch.zeros(3_000_000 // parts) for part in range(parts)}

    with files_at_most(room_bytes), pytest.raises(OSError, match="File too large"):
        folder.save(2, large, reason=Reason.SCHEDULE, is_best=False)

    assert names(tmp_path) == ["latest", "step_0000001"]
    assert usable_step(folder) == 1


def test_bytes_that_come_back_changed_are_never_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    real_sync = os.fsync

    def sync_and_flip(descriptor: int) -> None:
        real_sync(descriptor)
        for path in tmp_path.glob(".tmp-step_*/state.pt"):
            content = path.read_bytes()
            path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])

    monkeypatch.setattr(os, "fsync", sync_and_flip)
    with pytest.raises(OSError, match="what was read back is not what was written"):
        folder.save(1, state(9.0), reason=Reason.SCHEDULE, is_best=False)

    assert usable_step(folder) == 1


def test_an_earlier_state_left_aside_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 1).folder.rename(tmp_path / ".tmp-old-step_0000001.123")
    (tmp_path / ".tmp-step_0000001.124").mkdir()

    assert usable_step(CheckpointFolder(tmp_path)) == 1
    assert names(tmp_path) == ["latest", "step_0000001"]


KILLED_WHILE_SAVING = """
import sys
from pathlib import Path
import torch
from ddp.checkpoint.folder import CheckpointFolder, Reason
folder = CheckpointFolder(Path(sys.argv[1]))
step = max(folder.steps(), default=0)
while True:
    step += 1
    for _ in range(2):  # a new state, and one that replaces another
        folder.save(step, {"weights": torch.full((200_000,), float(step))}, reason=Reason.SCHEDULE, is_best=True)
    folder.prune(2)
    print(step, flush=True)
"""


def test_a_process_killed_while_saving_leaves_only_whole_states(tmp_path: Path, start_python: StartPython) -> None:
    chance = random.Random(0)
    for _ in range(5):
        process = start_python([sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1 * chance.random())
        process.kill()
        process.wait()
        process.stdout.close()
        check_survivors(tmp_path)


def check_survivors(root: Path) -> None:
    folder = CheckpointFolder(root)
    assert all(verify(path) is None for path in root.iterdir() if path.name.startswith("step_"))
    loaded = folder.newest_usable()
    assert loaded is not None
    assert loaded.saved.step == folder.steps()[0]
    assert set(loaded.state["weights"].tolist()) == {float(loaded.saved.step)}
    assert not [name for name in names(root) if name.startswith(".tmp-")]


def test_a_state_is_loaded_again_when_it_holds_types_that_none_before_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading takes the interpreter from the training thread, and values of the same types make no difference to it."""
    folder, loads, load = CheckpointFolder(tmp_path), [], torch.load

    def noting(path: Path, **options: Any) -> Any:
        loads.append(path)
        return load(path, **options)

    monkeypatch.setattr(torch, "load", noting)
    plain = {"weights": torch.ones(2), "names": ["a"], "step": 1}

    folder.save(1, plain, reason=Reason.SCHEDULE, is_best=False)
    folder.save(2, {**plain, "step": 2, "more": ["b", 3]}, reason=Reason.SCHEDULE, is_best=False)
    assert len(loads) == 1
    folder.save(3, {**plain, "step": 3.5}, reason=Reason.SCHEDULE, is_best=False)
    folder.save(4, {"weights": torch.ones(2).half()}, reason=Reason.SCHEDULE, is_best=False)
    assert len(loads) == 3
    for step, value in ((5, {1, tmp_path}), (6, [{"deep": (tmp_path,)}]), (7, {tmp_path: 1})):
        with pytest.raises(TypeError, match=f"the state of step {step} could not be loaded again"):
            folder.save(step, {**plain, "value": value}, reason=Reason.SCHEDULE, is_best=False)
    assert folder.steps() == [4, 3, 2, 1]

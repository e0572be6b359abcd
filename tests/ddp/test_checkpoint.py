"""Saved states: whole or not at all, and verified."""

import json
from pathlib import Path

import pytest
import torch

from ddp.checkpoint import CheckpointFolder, load_state, verify
from service.errors import RunDirectoryError


def state(value: float) -> dict[str, object]:
    return {"weights": torch.full((3,), value), "progress": {"step": int(value)}}


def test_what_was_saved_is_loaded_and_the_links_follow(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(500, state(1.0), is_best=True)
    folder.save(1000, state(2.0), is_best=False)

    saved = folder.newest_verified()

    assert saved is not None
    assert load_state(saved)["weights"].tolist() == [2.0, 2.0, 2.0]
    assert (tmp_path / "latest").resolve().name == "step_0001000"
    assert (tmp_path / "best").resolve().name == "step_0000500"


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(5, state(1.0), is_best=False)
    saved = folder.save(5, state(2.0), is_best=False)

    assert load_state(saved)["weights"][0] == 2.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_0000005"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "no manifest", "rubbish manifest", "newer format"])
def test_a_damaged_newest_state_is_passed_over_and_named(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1.0), is_best=False)
    newest = folder.save(2, state(2.0), is_best=False).folder
    hurt(newest, damage)

    saved = folder.newest_verified()

    assert saved is not None
    assert saved.step == 1
    assert "step_0000002 cannot be used" in caplog.text


def hurt(folder: Path, damage: str) -> None:
    content, manifest = (folder / "state.pt").read_bytes(), folder / "manifest.json"
    if damage == "truncate":
        (folder / "state.pt").write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        (folder / "state.pt").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "rubbish manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))


def test_states_without_one_that_can_be_used_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    hurt(folder.save(1, state(1.0), is_best=False).folder, "truncate")

    with pytest.raises(RunDirectoryError, match="restore one from a backup"):
        folder.newest_verified()


def test_no_states_at_all_is_no_error(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none").newest_verified() is None


def test_a_full_disk_leaves_the_earlier_state_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1.0), is_best=False)

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        folder.save(2, state(2.0), is_best=False)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_0000001"]
    assert verify(tmp_path / "step_0000001") is None

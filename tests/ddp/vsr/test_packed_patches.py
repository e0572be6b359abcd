"""The packed copy of a patch set: the same pairs, and never those of other files."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddp.vsr.feeding.pack import main
from ddp.vsr.packed_patches import PACKED_FILE, PackedPatches, StalePackError, packed_copy, write_packed
from ddp.vsr.patch_set import CorruptImageError, PatchSet
from ddp.vsr.sample_stream import StreamDataset
from tests.ddp.harness.launching import write_pair

SCALE, FRAMES = 3, 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index, (height, width) in enumerate([(36, 36), (48, 36), (36, 60), (60, 48)]):
        write_pair(tmp_path / "Patches", f"pair_{index}", height, width, seed=index)
    return tmp_path


def opened(root: Path) -> PatchSet:
    return PatchSet.open(root, "Patches", FRAMES, SCALE)


def packed(root: Path) -> PatchSet:
    patches = opened(root)
    write_packed(patches, lambda _: None)
    return patches


def test_every_pair_is_that_of_the_png_files(root: Path) -> None:
    patches = packed(root)
    copy = PackedPatches(patches)
    for index in (3, 0, 2, 1, 3):
        for one, other in zip(copy.read(index), patches.read(index), strict=True):
            assert one.dtype == torch.uint8
            assert torch.equal(one, other)


def test_training_samples_are_bit_for_bit_the_same(root: Path) -> None:
    patches = packed(root)
    plain = StreamDataset(patches, seed=3, patch_size=8, scale=SCALE)
    fast = StreamDataset(patches, seed=3, patch_size=8, scale=SCALE, pairs=PackedPatches(patches))
    for position in range(40):
        assert torch.equal(plain[position].lr, fast[position].lr)
        assert torch.equal(plain[position].gt, fast[position].gt)


def test_another_process_reads_the_same(root: Path) -> None:
    patches = packed(root)
    copy = PackedPatches(patches)
    copy.read(0)
    other = pickle.loads(pickle.dumps(copy))
    assert torch.equal(other.read(1)[1], copy.read(1)[1])


def test_a_pair_that_cannot_be_read_is_not_in_the_copy_and_stays_an_error_of_its_own(root: Path) -> None:
    patches = opened(root)
    path = root / "Patches" / "GT" / patches.names[1]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    patches = opened(root)

    assert write_packed(patches, lambda _: None) == 3
    copy = PackedPatches(patches)

    with pytest.raises(CorruptImageError, match=patches.names[1]):
        copy.read(1)
    assert torch.equal(copy.read(2)[0], patches.read(2)[0])


def change_a_file(root: Path) -> None:
    write_pair(root / "Patches", "pair_0", 72, 36, seed=9)


def add_a_pair(root: Path) -> None:
    write_pair(root / "Patches", "pair_9", 36, 36, seed=9)


def cut_off(root: Path) -> None:
    path = root / "Patches" / PACKED_FILE
    path.write_bytes(path.read_bytes()[:-1])


def damage(root: Path) -> None:
    path = root / "Patches" / PACKED_FILE
    path.write_bytes(path.read_bytes()[:30])


def replace(root: Path) -> None:
    (root / "Patches" / PACKED_FILE).write_text("not packed")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_a_file, "the PNG files are others now"),
        (add_a_pair, "the PNG files are others now"),
        (cut_off, "it is cut off"),
        (damage, "its header is damaged"),
        (replace, "it is no packed file"),
    ],
)
def test_a_copy_that_does_not_fit_is_not_used_and_said(root: Path, change: Callable[[Path], None], reason: str) -> None:
    packed(root)
    change(root)
    patches = opened(root)
    with pytest.raises(StalePackError, match=reason):
        PackedPatches(patches)
    copy, (sentence,) = packed_copy(patches)
    assert copy is None
    assert sentence == f"{root / 'Patches' / PACKED_FILE} is not used ({reason}): remove it, or run `leitstand pack`."


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_unreadable_pair(root: Path) -> None:
    patches = packed(root)
    copy = PackedPatches(patches)
    copy.read(3)
    path = root / "Patches" / PACKED_FILE
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    with pytest.raises(CorruptImageError, match="it is shorter than it was"):
        copy.read(3)


def test_a_set_without_a_copy_is_read_as_it_is(root: Path) -> None:
    assert packed_copy(opened(root)) == (None, [])


def test_the_command_packs_and_says_what_is_no_set(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--frames", "5", "--scale", "3"]
    assert main(["--dataset", str(root), *options]) == 0
    assert "holds 4 of 4 pairs" in capsys.readouterr().out
    assert packed_copy(opened(root))[0] is not None
    assert main(["--dataset", str(tmp_path / "none"), *options]) == 2
    assert capsys.readouterr().err.startswith("Error: ")


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ddp.vsr.packed_patches.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_packed(opened(root), lambda _: None)
    assert sorted(path.name for path in (root / "Patches").iterdir()) == ["GT", "LR"]

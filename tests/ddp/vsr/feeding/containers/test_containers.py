"""LMDB databases and tar shards against the folders that they were made from, as other programs make and read them."""

import io
import multiprocessing
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.vsr import workload
from ddp.vsr.feeding.containers.export import export
from ddp.vsr.feeding.containers.lmdb_store import is_whole
from ddp.vsr.feeding.pack import main
from ddp.vsr.packed_patches import PackedPatches, write_packed
from ddp.vsr.patch_set import CorruptImageError, PatchSet, Split
from ddp.vsr.sample_stream import StreamDataset
from ddp.workload import Share
from service.config.settings import RunConfig
from service.errors import DatasetError, UserError
from tests.ddp.harness.launching import write_pair

SCALE, FRAMES = 3, 5
SIDES: tuple[Split, ...] = ("Patches", "Val")


def opened(root: Path, side: Split = "Patches") -> PatchSet:
    return PatchSet.open(root, side, FRAMES, SCALE)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    for index, (height, width) in enumerate([(36, 36), (48, 36), (36, 60), (60, 48)]):
        write_pair(root / "Patches", f"pair_{index}", height, width, seed=index)
    write_pair(root / "Val", "val_0", 36, 36, seed=9)
    (root / "dataset.json").write_text("{}")
    return root


def written(plain: Path, container: str) -> Path:
    if container == "lmdb":
        pytest.importorskip("lmdb")
    target = plain.parent / container
    assert export([opened(plain, side) for side in SIDES], target, container, lambda _: None) == 5
    return target


@pytest.mark.parametrize("container", ["lmdb", "shards"])
def test_pairs_samples_and_fingerprint_are_those_of_the_folders(plain: Path, container: str) -> None:
    ours, theirs = opened(written(plain, container)), opened(plain)
    assert ours.names == theirs.names
    assert ours.sizes == theirs.sizes
    assert ours.fingerprint == theirs.fingerprint
    one, other = (StreamDataset(patches, seed=3, patch_size=8, scale=SCALE) for patches in (ours, theirs))
    for position in (7, 0, 3, 12, 1):
        assert torch.equal(one[position].lr, other[position].lr)
        assert torch.equal(one[position].gt, other[position].gt)


@pytest.mark.parametrize("container", ["lmdb", "shards"])
def test_a_training_takes_such_a_set_as_its_own_and_files_beside_the_sides_come_along(
    plain: Path, container: str
) -> None:
    target = written(plain, container)
    assert (target / "dataset.json").read_text() == "{}"
    assert sorted(path.name for path in target.parent.iterdir()) == sorted([container, "plain"])
    settings: dict[str, Any] = {"patch_size": 8, "n_feats": 4, "n_blocks": 2, "batch_size": 3}
    batches = [
        next(workload.build(RunConfig(dataset_root=root, num_workers=workers, **settings)).batches(Share(0, 1, 2)))
        for root, workers in ((plain, 0), (target, 0), (target, 2))
    ]
    assert all(torch.equal(batch.lr, batches[0].lr) for batch in batches)
    assert workload.build(RunConfig(dataset_root=target, **settings)).validation_images.names == ("val_0.png",)


def read_in_child(patches: PatchSet, index: int, queue: Any) -> None:
    queue.put(patches.read(index)[1].sum().item())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python warns of threads beside a fork")
@pytest.mark.parametrize("container", ["lmdb", "shards"])
def test_a_fork_reads_what_this_process_has_open(plain: Path, container: str) -> None:
    patches = opened(written(plain, container))
    expected = patches.read(2)[1].sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(patches, 2, queue))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join()
    assert patches.read(2)[1].sum().item() == expected


@pytest.mark.parametrize("container", ["lmdb", "shards"])
def test_another_process_is_given_what_is_open(plain: Path, container: str) -> None:
    patches = opened(written(plain, container))
    assert torch.equal(pickle.loads(pickle.dumps(patches)).read(1)[0], patches.read(1)[0])


@pytest.mark.parametrize("container", ["lmdb", "shards"])
def test_a_packed_copy_is_made_of_it_too(plain: Path, container: str) -> None:
    patches = opened(written(plain, container))
    assert write_packed(patches, lambda _: None) == 4
    assert torch.equal(PackedPatches(patches).read(1)[0], opened(plain).read(1)[0])


def test_a_database_is_one_that_basicsr_reads(plain: Path) -> None:
    """Its LmdbBackend asks for the bytes of a key without suffix; its datasets read the keys from meta_info.txt."""
    lmdb = pytest.importorskip("lmdb")
    target = written(plain, "lmdb") / "Patches"
    lines = (target / "GT.lmdb" / "meta_info.txt").read_text().splitlines()
    assert lines[1] == "pair_1.png (48,36,3) 1"
    assert (target / "LR.lmdb" / "meta_info.txt").read_text().splitlines()[1] == "pair_1.png (80,12,3) 1"
    client = lmdb.open(str(target / "GT.lmdb"), readonly=True, lock=False, readahead=False)
    with client.begin(write=False) as transaction:
        content = transaction.get(lines[1].split(".")[0].encode("ascii"))
    client.close()
    assert content == (plain / "Patches/GT/pair_1.png").read_bytes()


def test_a_database_with_suffixes_in_its_keys_is_read(plain: Path, tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    for kind in ("GT", "LR"):
        (tmp_path / "other/Patches").mkdir(parents=True, exist_ok=True)
        database = lmdb.open(str(tmp_path / f"other/Patches/{kind}.lmdb"), map_size=2**22)
        with database, database.begin(write=True) as transaction:
            for path in (plain / "Patches" / kind).iterdir():
                transaction.put(path.name.encode(), path.read_bytes())
    assert torch.equal(opened(tmp_path / "other").read(3)[0], opened(plain).read(3)[0])


def test_a_database_that_is_cut_off_is_known_by_its_own_figures() -> None:
    info, stat = {"last_pgno": 99}, {"psize": 4096}
    assert is_whole(info, stat, 100 * 4096)
    assert not is_whole(info, stat, 100 * 4096 - 1)


def test_what_is_no_database_is_named(plain: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    for kind in ("GT", "LR"):
        (tmp_path / f"none/Patches/{kind}.lmdb").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"the LMDB database .*GT\.lmdb cannot be opened \(No such file"):
        opened(tmp_path / "none")
    for kind in ("GT", "LR"):
        (tmp_path / f"none/Patches/{kind}.lmdb/data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(DatasetError, match=r"GT\.lmdb cannot be opened \("):
        opened(tmp_path / "none")


def test_without_the_package_the_extra_is_named(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some/Patches/GT.lmdb").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    said = (
        r": LMDB databases need the package lmdb, which is not installed; `pip install 'leitstand\[lmdb\]'` brings it"
    )
    with pytest.raises(DatasetError, match="some/Patches/GT.lmdb" + said):
        opened(tmp_path / "some")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DatasetError, match=f"^{tmp_path / 'out'}{said}"):
        export([opened(plain)], tmp_path / "out", "lmdb", lambda _: None)
    assert sorted(tmp_path.iterdir()) == before, "nothing was made, nor begun under another name"


def test_shards_are_tar_files_that_webdataset_groups_into_samples(plain: Path) -> None:
    """A sample is what follows each other with the same name up to the first dot; the rest is the key."""
    with tarfile.open(written(plain, "shards") / "Patches/shard-000000.tar") as archive:
        names = archive.getnames()
        content = archive.extractfile("pair_2.lr.png")
        assert content is not None
        assert content.read() == (plain / "Patches/LR/pair_2.png").read_bytes()
    assert names[:4] == ["pair_0.gt.png", "pair_0.lr.png", "pair_1.gt.png", "pair_1.lr.png"]


def test_full_shards_are_followed_by_others(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddp.vsr.feeding.containers.export.SHARD_BYTES", 9000)
    target = written(plain, "shards")
    assert len(list((target / "Patches").glob("shard-*.tar"))) > 1
    assert opened(target).fingerprint == opened(plain).fingerprint


def cut_off(folder: Path) -> str:
    path = folder / "shard-000000.tar"
    with tarfile.open(path) as archive:
        place = archive.getmember("pair_3.lr.png").offset_data
    path.write_bytes(path.read_bytes()[: place + 5])
    return "shard-000000.tar"


def repeat(folder: Path) -> str:
    (folder / "shard-000001.tar").write_bytes((folder / "shard-000000.tar").read_bytes())
    return "shard-000001.tar, pair_3.png"


def compress(folder: Path) -> str:
    (folder / "more.tar.gz").write_bytes(b"")
    return "more.tar.gz"


def spoil(folder: Path) -> str:
    (folder / "text.tar").write_text("no archive at all" * 100)
    return "text.tar"


@pytest.mark.parametrize(
    ("change", "reason", "count"),
    [
        (cut_off, "used up to a damage", 3),
        (repeat, "an earlier shard holds this name", 4),
        (compress, "it is compressed", 4),
        (spoil, "used up to a damage", 4),
    ],
)
def test_a_bad_shard_costs_what_is_in_it_by_name(
    plain: Path, change: Callable[[Path], str], reason: str, count: int
) -> None:
    target = written(plain, "shards")
    name = change(target / "Patches")
    patches = opened(target)
    assert len(patches) == count
    assert reason in {item.name: item.reason for item in patches.skipped}[name]


def test_a_damaged_picture_in_a_shard_is_one_unreadable_pair(plain: Path) -> None:
    folder = written(plain, "shards") / "Patches"
    with tarfile.open(folder / "shard-000000.tar") as archive:
        member = archive.getmember("pair_1.gt.png")
    content = bytearray((folder / "shard-000000.tar").read_bytes())
    content[member.offset_data + 45 : member.offset_data + member.size] = b"\xff" * (member.size - 45)
    (folder / "shard-000000.tar").write_bytes(content)
    patches = opened(folder.parent)
    with pytest.raises(CorruptImageError, match=r"GT/pair_1\.png"):
        patches.read(1)
    assert torch.equal(patches.read(2)[0], opened(plain).read(2)[0])


def test_a_shard_that_becomes_shorter_is_an_unreadable_pair(plain: Path) -> None:
    folder = written(plain, "shards") / "Patches"
    patches = opened(folder.parent)
    with (folder / "shard-000000.tar").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(CorruptImageError, match="is shorter than it was"):
        patches.read(3)


def test_a_size_behind_much_text_is_found_in_the_whole_file(plain: Path, tmp_path: Path) -> None:
    from PIL import Image, PngImagePlugin

    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "long " * 4000)
    (tmp_path / "long/Patches").mkdir(parents=True)
    with tarfile.open(tmp_path / "long/Patches/a.tar", "w") as archive:
        for kind in ("GT", "LR"):
            file = io.BytesIO()
            with Image.open(plain / "Patches" / kind / "pair_0.png") as image:
                image.save(file, "png", pnginfo=notes)
            member = tarfile.TarInfo(f"some/where/a.{kind.lower()}.png")
            member.size = file.tell()
            archive.addfile(member, io.BytesIO(file.getvalue()))
    patches = opened(tmp_path / "long")
    assert patches.names == ("a.png",)
    assert torch.equal(patches.read(0)[0], opened(plain).read(0)[0])


def test_names_with_dots_do_not_fit_into_shards(plain: Path, tmp_path: Path) -> None:
    write_pair(plain / "Patches", "a.b", 36, 36, seed=1)
    with pytest.raises(UserError, match=r"holds a\.b\.png, and WebDataset takes a name to end at its first dot"):
        export([opened(plain)], tmp_path / "out", "shards", lambda _: None)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_set_once_and_never_over_another(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    options = ["--dataset", str(plain), "--frames", "5", "--scale", "3", "--container", "shards", "--out", str(out)]
    assert main(options) == 0
    assert f"{out} holds 5 of 5 pairs: DATASET_ROOT={out} trains on it" in capsys.readouterr().out
    assert main(options) == 2
    assert "exists: give a folder that does not" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tarfile.TarFile.addfile", fail)
    options = ["--dataset", str(plain), "--frames", "5", "--scale", "3", "--container", "shards"]
    assert main([*options, "--out", str(tmp_path / "out")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]

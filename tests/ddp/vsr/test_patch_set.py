"""Opening and reading patch sets: good ones, and every way in which a file can be bad."""

import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from ddp.vsr.patch_set import CorruptImageError, PatchSet
from service.errors import DatasetError
from tests.ddp.vsr.conftest import ODD_KINDS

T, SCALE, H, W = 5, 3, 12, 18


def put_pair(root: Path, name: str, split: str = "Patches", height: int = H, width: int = W, seed: int = 0) -> None:
    noise = np.random.default_rng(seed)
    for kind, shape in (("GT", (height, width, 3)), ("LR", (T * height // SCALE, width // SCALE, 3))):
        folder = root / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)


def reasons(patches: PatchSet) -> dict[str, str]:
    return {item.name: item.reason for item in patches.skipped}


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_pairs_are_sorted_by_name_and_read_frame_by_frame_as_rgb(tmp_path: Path) -> None:
    for seed, name in enumerate(("b.png", "a.png", "c.PNG")):
        put_pair(tmp_path, name, seed=seed)
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)

    assert patches.names == ("a.png", "b.png", "c.PNG")
    assert patches.sizes == ((4, 6),) * 3
    lr, gt = patches.read(1)
    assert (lr.shape, lr.dtype, gt.shape) == ((T, 3, 4, 6), torch.uint8, (3, H, W))
    stacked = np.asarray(Image.open(tmp_path / "Patches/LR/b.png"))
    for frame in range(T):
        np.testing.assert_array_equal(lr[frame].permute(1, 2, 0), stacked[4 * frame : 4 * frame + 4])
    np.testing.assert_array_equal(gt.permute(1, 2, 0), np.asarray(Image.open(tmp_path / "Patches/GT/b.png")))


def test_the_authors_sizes_fit(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png", height=540, width=540)
    lr, gt = PatchSet.open(tmp_path, "Patches", 5, 3).read(0)
    assert (lr.shape, gt.shape) == ((5, 3, 180, 180), (3, 540, 540))


def test_every_kind_of_bad_file_is_named_with_its_reason_and_left_out(tmp_path: Path) -> None:
    for name in ("good", "no_lr", "odd", "wrong", "wide", "text", "empty", "deep"):
        put_pair(tmp_path, f"{name}.png")
    gt, lr = tmp_path / "Patches/GT", tmp_path / "Patches/LR"
    (lr / "no_lr.png").unlink()
    (gt / "odd.png").write_bytes(b"")
    Image.new("RGB", (W + 1, H)).save(gt / "odd.png")
    Image.new("RGB", (6, 7 * 4)).save(lr / "wrong.png")
    Image.new("RGB", (7, 5 * 4)).save(lr / "wide.png")
    (gt / "text.png").write_text("not an image")
    (lr / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros((H, W), np.uint16)).save(gt / "deep.png")
    Image.new("RGB", (6, 20)).save(lr / "no_gt.png")
    (gt / "._good.png").write_bytes(b"left by a file manager")
    (gt / "notes.txt").write_text("left by a person")
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)

    assert patches.names == ("good.png",)
    assert reasons(patches) == {
        "GT/no_lr.png": "there is no LR of this name",
        "LR/no_gt.png": "there is no GT of this name",
        "GT/odd.png": "19x12 pixels cannot be divided by the scale 3",
        "LR/wrong.png": "it is 6x28 pixels, but 6x20 were expected (5 frames of 6x4 for a GT of 18x12 at scale 3)",
        "LR/wide.png": "it is 7x20 pixels, but 6x20 were expected (5 frames of 6x4 for a GT of 18x12 at scale 3)",
        "GT/text.png": "it is not a PNG image",
        "LR/empty.png": "it is empty",
        "GT/deep.png": "its pixels are of type I;16, but 8 bits per channel were expected",
    }


@pytest.mark.parametrize("kind", ["GT", "LR"])
def test_no_entry_of_a_folder_costs_more_than_itself(
    tmp_path: Path, kind: str, put_odd_entries: Callable[[Path, str], None]
) -> None:
    """Pipes, sockets and devices are not even opened: reading from them would never end."""
    put_pair(tmp_path, "good.png")
    odd, partners = tmp_path / "Patches" / kind, tmp_path / "Patches" / ("LR" if kind == "GT" else "GT")
    put_odd_entries(odd, ".png")
    for name in os.listdir(odd):
        if name != "good.png":
            shutil.copy(partners / "good.png", partners / name)
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)

    assert patches.names == ("good.png",)
    assert {Path(name).stem: reason for name, reason in reasons(patches).items()} == ODD_KINDS
    for text in reasons(patches):
        text.encode()  # can be logged and stored


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_left_out(tmp_path: Path) -> None:
    put_pair(tmp_path, "good.png")
    put_pair(tmp_path, "secret.png")
    (tmp_path / "Patches/GT/secret.png").chmod(0)

    assert reasons(PatchSet.open(tmp_path, "Patches", T, SCALE)) == {"GT/secret.png": "Permission denied"}


def test_a_pair_that_becomes_a_pipe_is_named_when_it_is_read(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png")
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)
    (tmp_path / "Patches/GT/a.png").unlink()
    os.mkfifo(tmp_path / "Patches/GT/a.png")

    with pytest.raises(CorruptImageError, match=r"GT/a\.png: it is a named pipe"):
        patches.read(0)


def test_a_file_that_breaks_off_is_named_when_it_is_read(tmp_path: Path) -> None:
    """Not when the set is opened, which looks at headers only: a large set opens in seconds."""
    put_pair(tmp_path, "a.png")
    put_pair(tmp_path, "b.png")
    truncate(tmp_path / "Patches/LR/b.png")
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)

    patches.read(0)
    with pytest.raises(CorruptImageError, match=r"^LR/b\.png: .*truncated") as caught:
        patches.read(1)
    copy = pickle.loads(pickle.dumps(caught.value))  # as between a worker and the trainer
    assert (copy.name, copy.reason) == ("LR/b.png", caught.value.reason)


@pytest.mark.parametrize("position", [40, 60, -20])
def test_flipped_bytes_anywhere_never_raise_anything_else(tmp_path: Path, position: int) -> None:
    put_pair(tmp_path, "a.png")
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)
    path = tmp_path / "Patches/GT/a.png"
    content = bytearray(path.read_bytes())
    content[position : position + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(CorruptImageError, match=r"GT/a\.png"):
        patches.read(0)


def test_a_file_that_vanished_or_changed_its_size_is_named_when_it_is_read(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png")
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)
    Image.new("RGB", (6, 6)).save(tmp_path / "Patches/GT/a.png")
    with pytest.raises(CorruptImageError, match=r"GT/a\.png: it is 6x6 pixels now, but was 18x12"):
        patches.read(0)
    (tmp_path / "Patches/LR/a.png").unlink()
    with pytest.raises(CorruptImageError, match=r"LR/a\.png: it does not exist"):
        patches.read(0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_8_bit_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    put_pair(tmp_path, "a.png")
    path = tmp_path / "Patches/GT/a.png"
    picture = Image.open(path).convert(mode)
    picture.save(path)
    _, gt = PatchSet.open(tmp_path, "Patches", T, SCALE).read(0)
    np.testing.assert_array_equal(gt.permute(1, 2, 0), np.asarray(picture.convert("RGB")))


def test_16_bits_per_colour_are_left_out_by_name_and_never_cut_off(tmp_path: Path) -> None:
    put_pair(tmp_path, "good.png")
    put_pair(tmp_path, "deep.png")
    rows = np.full((H, 1 + 6 * W), 200, np.uint8)
    rows[:, 0] = 0  # the filter of each row: none
    header = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x)) for name, x in parts]
    (tmp_path / "Patches" / "GT" / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))

    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)

    assert reasons(patches) == {"GT/deep.png": "it has 16 bits per channel, but 8 were expected: convert it"}


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png")
    path = tmp_path / "Patches/GT/a.png"
    picture = Image.open(path).convert("P")
    colours = np.asarray(picture.convert("RGB"))
    picture.save(path, transparency=bytes([0, 128] * 128))
    _, gt = PatchSet.open(tmp_path, "Patches", T, SCALE).read(0)
    np.testing.assert_array_equal(gt.permute(1, 2, 0), colours)


def test_validation_is_never_filled_up_from_training(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png")
    put_pair(tmp_path, "a.png", split="Val")
    put_pair(tmp_path, "b.png", split="Val")
    (tmp_path / "Val/LR/a.png").unlink()
    validation = PatchSet.open(tmp_path, "Val", T, SCALE)
    assert validation.names == ("b.png",)
    assert reasons(validation) == {"GT/a.png": "there is no LR of this name"}

    shutil.rmtree(tmp_path / "Val")
    with pytest.raises(DatasetError, match=r"Val/GT cannot be read \(No such file.*check DATASET_ROOT"):
        PatchSet.open(tmp_path, "Val", T, SCALE)


def test_nothing_usable_names_the_folder_what_was_expected_and_examples(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png")
    with pytest.raises(DatasetError, match=r"Patches holds no usable pair.*LR/a\.png: it is 6x20 pixels.*7 frames"):
        PatchSet.open(tmp_path, "Patches", 7, SCALE)
    for path in (tmp_path / "Patches").rglob("*.png"):
        path.unlink()
    with pytest.raises(DatasetError, match="GT and LR hold no PNG file"):
        PatchSet.open(tmp_path, "Patches", T, SCALE)


def test_text_in_a_png_does_no_harm(tmp_path: Path) -> None:
    put_pair(tmp_path, "a.png")
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 5000, zip=True)
    path = tmp_path / "Patches/GT/a.png"
    Image.open(path).convert("RGB").save(path, pnginfo=text)
    PatchSet.open(tmp_path, "Patches", T, SCALE).read(0)


def test_the_fingerprint_tells_sets_apart_by_names_and_sizes_and_not_by_their_place(tmp_path: Path) -> None:
    def fingerprint(root: str) -> str:
        return PatchSet.open(tmp_path / root, "Patches", T, SCALE).fingerprint

    for root in ("a", "copy", "renamed", "more", "larger", "edited"):
        put_pair(tmp_path / root, "a.png")
    put_pair(tmp_path / "renamed", "b.png")
    for kind in ("GT", "LR"):
        (tmp_path / "renamed" / "Patches" / kind / "a.png").unlink()
    put_pair(tmp_path / "more", "b.png")
    put_pair(tmp_path / "larger", "a.png", height=2 * H)
    with (tmp_path / "edited/Patches/LR/a.png").open("ab") as file:
        file.write(b"more")

    assert fingerprint("a") == fingerprint("copy")
    assert len({fingerprint(root) for root in ("a", "renamed", "more", "larger", "edited")}) == 5


def test_the_fingerprint_tells_other_pictures_of_the_same_sizes_apart(tmp_path: Path) -> None:
    def fingerprint(root: str) -> str:
        return PatchSet.open(tmp_path / root, "Val", T, SCALE).fingerprint

    for root in ("a", "GT", "LR"):
        put_pair(tmp_path / root, "a.png", split="Val")
        for path in (tmp_path / root).rglob("*.png"):
            Image.open(path).copy().save(path, compress_level=0)
    sizes = [[path.stat().st_size for path in sorted((tmp_path / root).rglob("*.png"))] for root in ("a", "GT", "LR")]
    for kind in ("GT", "LR"):
        path = tmp_path / kind / "Val" / kind / "a.png"
        Image.eval(Image.open(path).copy(), lambda value: 255 - value).save(path, compress_level=0)

    assert sizes == [sizes[0]] * 3
    assert len({fingerprint(root) for root in ("a", "GT", "LR")}) == 3

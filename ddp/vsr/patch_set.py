"""Reader of a patch set: pairs of PNG files with identical names, checked once when opened.

    ROOT/Patches/GT/*.png   ROOT/Patches/LR/*.png   training
    ROOT/Val/GT/*.png       ROOT/Val/LR/*.png       validation; never filled up from training

GT is one frame, LR is T frames stacked from top to bottom, of which frame T // 2 matches GT. Invalid files are skipped
and listed with a reason. Never writes and never deletes.

Legend: T = frames; h, w = LR size of one frame; H, W = GT size; s = scale, H = s h, W = s w.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddp.vsr.unreadable import Skipped, UnreadableFileError, is_deep_colour, opened_picture, printable_name
from ddp.workload import fingerprint
from service.atomic_files import open_ordinary
from service.errors import DatasetError

Split = Literal["Patches", "Val"]
MODES_8_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
MAX_EXAMPLES = 3
MAX_CHECKSUMS = 256
"""Most pairs whose checksums are read when a set is opened: other sets differ in most of them."""
CHECKSUM_BYTES = 32


class CorruptImageError(Exception):
    """A file of the set cannot be read; `name` is the file, `reason` the cause."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # both as arguments, so that it can be pickled between processes
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class PatchSet:
    """The readable pairs of one split, sorted by name."""

    folder: Path
    n_frames: int
    scale: int
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    """(h, w) of one LR frame, in the order of `names`."""
    skipped: tuple[Skipped, ...]
    fingerprint: str
    """Differs for sets with other names, sizes in pixels or in bytes, or other checksums at the end of some files."""

    def __init__(
        self, folder: Path, n_frames: int, sizes: dict[str, tuple[int, int]], skipped: tuple[Skipped, ...], scale: int
    ) -> None:
        self.folder = folder
        self.n_frames = n_frames
        self.scale = scale
        self.names = tuple(sizes)
        self.sizes = tuple(sizes.values())
        self.skipped = skipped
        self.fingerprint = fingerprint((*_sizes_of(folder, sizes), *_checksums_of(folder, self.names)))

    @classmethod
    def open(cls, root: Path, split: Split, n_frames: int, scale: int) -> Self:
        """List the pairs of `root/split` and check every file's header (0.1 ms per pair).

        Raises DatasetError with the folder and the expected content if no usable pair is found.
        """
        folder = root / split
        gt_names, lr_names = _png_names(folder / "GT", n_frames), _png_names(folder / "LR", n_frames)
        alone = sorted(lr_names - gt_names)
        skipped = [Skipped(f"LR/{printable_name(name)}", "there is no GT of this name") for name in alone]
        sizes: dict[str, tuple[int, int]] = {}
        for name in sorted(gt_names):
            try:
                sizes[name] = _checked_size(folder, name, name in lr_names, n_frames, scale)
            except CorruptImageError as error:
                skipped.append(Skipped(error.name, error.reason))
        if not sizes:
            raise DatasetError(_no_pair_message(folder, n_frames, scale, skipped))
        return cls(folder, n_frames, sizes, tuple(skipped), scale)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8, RGB.

        Raises CorruptImageError if a file cannot be decoded or no longer has the size of its header at `open`.
        """
        name, (h, w) = self.names[index], self.sizes[index]
        lr = _read_image(self.folder, f"LR/{name}", self.n_frames * h, w)
        gt = _read_image(self.folder, f"GT/{name}", self.scale * h, self.scale * w)
        return lr.view(self.n_frames, h, w, 3).permute(0, 3, 1, 2).contiguous(), gt.permute(2, 0, 1).contiguous()


def _png_names(folder: Path, n_frames: int) -> set[str]:
    """Return the names of all PNG files except hidden ones, by a directory scan only."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.name.lower().endswith(".png") and entry.name[0] != "."}
    except OSError as error:
        raise DatasetError(
            f"the folder {folder} cannot be read ({error.strerror}): expected a patch set with "
            f"{{Patches,Val}}/{{GT,LR}}/*.png, where an LR file stacks {n_frames} frames; "
            f"check DATASET_ROOT, or make a set with `leitstand prepare`"
        ) from error


def _checked_size(folder: Path, name: str, has_lr: bool, n_frames: int, scale: int) -> tuple[int, int]:
    """Return (h, w) of one LR frame, from both headers. Raises CorruptImageError if the pair must be skipped."""
    if not has_lr:
        raise CorruptImageError(f"GT/{printable_name(name)}", "there is no LR of this name")
    height, width = _header_size(folder, f"GT/{name}")
    lr_height, lr_width = _header_size(folder, f"LR/{name}")
    if height % scale or width % scale:
        raise CorruptImageError(f"GT/{name}", f"{width}x{height} pixels cannot be divided by the scale {scale}")
    h, w = height // scale, width // scale
    if (lr_height, lr_width) != (n_frames * h, w):
        raise CorruptImageError(
            f"LR/{name}",
            f"it is {lr_width}x{lr_height} pixels, but {w}x{n_frames * h} were expected "
            f"({n_frames} frames of {w}x{h} for a GT of {width}x{height} at scale {scale})",
        )
    return h, w


def _header_size(folder: Path, name: str) -> tuple[int, int]:
    """Return (height, width) from the file's header."""
    with _opened(folder, name) as image:
        return image.height, image.width


def _read_image(folder: Path, name: str, height: int, width: int) -> Tensor:
    """Decode an image to (height, width, 3) uint8."""
    with _opened(folder, name) as image:
        # A palette may contain transparency, which Pillow converts without a warning only via RGBA.
        plain = image.convert("RGBA") if image.mode in {"P", "PA"} else image
        pixels = np.array(plain.convert("RGB"))
    if pixels.shape[:2] != (height, width):
        found = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise CorruptImageError(name, f"it is {found} pixels now, but was {width}x{height} when the set was opened")
    return torch.from_numpy(pixels)


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[Image.Image]:
    """Open an 8-bit PNG file. Raises CorruptImageError, also for what goes wrong within the block."""
    try:
        with opened_picture(folder / name, ["PNG"]) as image:
            _check_mode(name, image)
            yield image
    except UnreadableFileError as error:
        raise CorruptImageError(printable_name(name), str(error)) from error


def _check_mode(name: str, image: Image.Image) -> None:
    if image.mode not in MODES_8_BIT:
        raise CorruptImageError(name, f"its pixels are of type {image.mode}, but 8 bits per channel were expected")
    if is_deep_colour(image):
        raise CorruptImageError(name, "it has 16 bits per channel, but 8 were expected: convert it")


def _sizes_of(folder: Path, sizes: dict[str, tuple[int, int]]) -> Iterator[str]:
    for name, size in sizes.items():
        yield f"{name!r} {size} {_size_in_bytes(folder / 'GT' / name)} {_size_in_bytes(folder / 'LR' / name)}"


def _size_in_bytes(path: Path) -> int:
    """Return the size of a file; -1 if it has vanished."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _checksums_of(folder: Path, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the checksums of pairs spread over the set, so that other pictures of the same sizes are another set."""
    for name in names[:: -(-len(names) // MAX_CHECKSUMS)]:
        yield " ".join(_checksum_at_end(folder / side / name) for side in ("GT", "LR"))


def _checksum_at_end(path: Path) -> str:
    """Return the last bytes of a PNG file: the checksum of its last pixels, and with it that of all; "" if it is gone.

    The end of zlib's stream, which is there, is the Adler-32 of all pixels.
    """
    try:
        with open_ordinary(path) as file:
            file.seek(-CHECKSUM_BYTES, os.SEEK_END)
            return file.read(CHECKSUM_BYTES).hex()
    except OSError:
        return ""


def _no_pair_message(folder: Path, n_frames: int, scale: int, skipped: list[Skipped]) -> str:
    examples = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:MAX_EXAMPLES])
    found = f"{len(skipped)} files were left out, such as {examples}" if skipped else "GT and LR hold no PNG file"
    return (
        f"{folder} holds no usable pair of GT and LR images: {found}; expected files of the same name in GT and LR, "
        f"an LR file being {n_frames} frames (N_FRAMES) of 1/{scale} (SCALE) of the GT's size stacked vertically"
    )

"""Reader of a patch set: pairs of PNG files with identical names, checked once when opened.

The files lie in folders, or in databases or shards (`feeding/containers`):

    ROOT/Patches/GT/*.png   ROOT/Patches/LR/*.png   training
    ROOT/Val/GT/*.png       ROOT/Val/LR/*.png       validation; never filled up from training

GT is one frame, LR is T frames stacked from top to bottom, of which frame T // 2 matches GT. Invalid files are skipped
and listed with a reason. Never writes and never deletes.

Legend: T = frames; h, w = LR size of one frame; H, W = GT size; s = scale, H = s h, W = s w.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddp.vsr.feeding.containers.choice import store_of
from ddp.vsr.feeding.containers.store import Kind, PictureStore
from ddp.vsr.unreadable import Skipped, UnreadableFileError, is_deep_colour, printable_name
from ddp.workload import fingerprint
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
        self,
        folder: Path,
        store: PictureStore,
        n_frames: int,
        sizes: dict[str, tuple[int, int]],
        skipped: tuple[Skipped, ...],
        scale: int,
    ) -> None:
        self.folder = folder
        self.store = store
        self.n_frames = n_frames
        self.scale = scale
        self.names = tuple(sizes)
        self.sizes = tuple(sizes.values())
        self.skipped = skipped
        self.fingerprint = fingerprint((*_sizes_of(store, sizes), *_checksums_of(store, self.names)))

    @classmethod
    def open(cls, root: Path, split: Split, n_frames: int, scale: int) -> Self:
        """List the pairs of `root/split` and check every file's header (0.1 ms per pair).

        Raises DatasetError with the folder and the expected content if no usable pair is found.
        """
        folder = root / split
        store, gt_names, lr_names = _names_of(folder, n_frames)
        alone = sorted(lr_names - gt_names)
        skipped = [*store.skipped, *(Skipped(f"LR/{printable_name(n)}", "there is no GT of this name") for n in alone)]
        sizes: dict[str, tuple[int, int]] = {}
        for name in sorted(gt_names):
            try:
                sizes[name] = _checked_size(store, name, name in lr_names, n_frames, scale)
            except CorruptImageError as error:
                skipped.append(Skipped(error.name, error.reason))
        if not sizes:
            raise DatasetError(_no_pair_message(folder, n_frames, scale, skipped))
        return cls(folder, store, n_frames, sizes, tuple(skipped), scale)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8, RGB.

        Raises CorruptImageError if a file cannot be decoded or no longer has the size of its header at `open`.
        """
        name, (h, w) = self.names[index], self.sizes[index]
        lr = _read_image(self.store, "LR", name, self.n_frames * h, w)
        gt = _read_image(self.store, "GT", name, self.scale * h, self.scale * w)
        return lr.view(self.n_frames, h, w, 3).permute(0, 3, 1, 2).contiguous(), gt.permute(2, 0, 1).contiguous()


def _names_of(folder: Path, n_frames: int) -> tuple[PictureStore, set[str], set[str]]:
    """Return where the files of a side lie, and the names of GT and LR. Raises `DatasetError`."""
    try:
        store = store_of(folder)
        return store, store.names("GT"), store.names("LR")
    except OSError as error:
        raise DatasetError(
            f"the folder {error.filename or folder} cannot be read ({error.strerror}): expected a patch set with "
            f"{{Patches,Val}}/{{GT,LR}}/*.png, where an LR file stacks {n_frames} frames; "
            f"check DATASET_ROOT, or make a set with `leitstand prepare`"
        ) from error


def _checked_size(store: PictureStore, name: str, has_lr: bool, n_frames: int, scale: int) -> tuple[int, int]:
    """Return (h, w) of one LR frame, from both headers. Raises CorruptImageError if the pair must be skipped."""
    if not has_lr:
        raise CorruptImageError(f"GT/{printable_name(name)}", "there is no LR of this name")
    height, width = _header_size(store, "GT", name)
    lr_height, lr_width = _header_size(store, "LR", name)
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


def _header_size(store: PictureStore, kind: Kind, name: str) -> tuple[int, int]:
    """Return (height, width) from the file's header."""
    with _opened(store, kind, name, only_head=True) as image:
        return image.height, image.width


def _read_image(store: PictureStore, kind: Kind, name: str, height: int, width: int) -> Tensor:
    """Decode an image to (height, width, 3) uint8."""
    with _opened(store, kind, name) as image:
        # A palette may contain transparency, which Pillow converts without a warning only via RGBA.
        plain = image.convert("RGBA") if image.mode in {"P", "PA"} else image
        pixels = np.array(plain.convert("RGB"))
    if pixels.shape[:2] != (height, width):
        found = f"{pixels.shape[1]}x{pixels.shape[0]}"
        reason = f"it is {found} pixels now, but was {width}x{height} when the set was opened"
        raise CorruptImageError(f"{kind}/{name}", reason)
    return torch.from_numpy(pixels)


@contextmanager
def _opened(store: PictureStore, kind: Kind, name: str, only_head: bool = False) -> Iterator[Image.Image]:
    """Open an 8-bit PNG file. Raises CorruptImageError, also for what goes wrong within the block."""
    try:
        with (store.opened_head if only_head else store.opened)(kind, name) as image:
            _check_mode(f"{kind}/{name}", image)
            yield image
    except UnreadableFileError as error:
        raise CorruptImageError(printable_name(f"{kind}/{name}"), str(error)) from error


def _check_mode(name: str, image: Image.Image) -> None:
    if image.mode not in MODES_8_BIT:
        raise CorruptImageError(name, f"its pixels are of type {image.mode}, but 8 bits per channel were expected")
    if is_deep_colour(image):
        raise CorruptImageError(name, "it has 16 bits per channel, but 8 were expected: convert it")


def _sizes_of(store: PictureStore, sizes: dict[str, tuple[int, int]]) -> Iterator[str]:
    for name, size in sizes.items():
        yield f"{name!r} {size} {store.size_in_bytes('GT', name)} {store.size_in_bytes('LR', name)}"


def _checksums_of(store: PictureStore, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the checksums of pairs spread over the set, so that other pictures of the same sizes are another set.

    The last bytes of a PNG file are the checksum of its last pixels, and with it that of all: the end of zlib's stream,
    which is there, is the Adler-32 of all pixels.
    """
    for name in names[:: -(-len(names) // MAX_CHECKSUMS)]:
        yield " ".join(store.last_bytes(kind, name, CHECKSUM_BYTES).hex() for kind in ("GT", "LR"))


def _no_pair_message(folder: Path, n_frames: int, scale: int, skipped: list[Skipped]) -> str:
    examples = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:MAX_EXAMPLES])
    found = f"{len(skipped)} files were left out, such as {examples}" if skipped else "GT and LR hold no PNG file"
    return (
        f"{folder} holds no usable pair of GT and LR images: {found}; expected files of the same name in GT and LR, "
        f"an LR file being {n_frames} frames (N_FRAMES) of 1/{scale} (SCALE) of the GT's size stacked vertically"
    )

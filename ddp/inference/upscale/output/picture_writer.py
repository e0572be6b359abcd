"""Writes pictures: each whole or not at all, a folder of them only when all are there."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddp.inference.upscale.input.clip import InputFrame
from ddp.inference.upscale.output.job_folder import JobFolder
from service.atomic_files import sync_folder, write_atomically

FORMATS = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}
"""Pillow's names of the formats of one picture, by the suffix of the output."""
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "PNG": {"compress_level": 3},
}
PICTURES = "pictures"


class PictureWriter:
    """Writes one picture file."""

    def __init__(self, target: Path, *, replaces: bool) -> None:
        self._target = target
        self._replaces = replaces
        self._content = b""
        self.done_count = 0

    def add(self, frame: InputFrame, picture: Tensor) -> None:
        """Encode the picture."""
        self._content = encoded(pixels_of(picture), FORMATS[self._target.suffix.lower()], frame.profile)

    def save(self) -> None:
        """Do nothing: a single picture is written at the end."""

    def finish(self) -> None:
        """Write the file."""
        write_atomically(self._target, self._content, replaces=self._replaces)


class FolderWriter:
    """Writes a folder of PNG files, named as the input's pictures or by the numbers of a video's frames."""

    def __init__(self, job: JobFolder, target: Path) -> None:
        self._folder = job.path / PICTURES
        self._folder.mkdir(exist_ok=True)
        self._target = target
        self.done_count = len([path for path in self._folder.iterdir() if path.suffix == ".png"])

    def add(self, frame: InputFrame, picture: Tensor) -> None:
        """Write one picture."""
        name = frame.name or f"frame_{frame.number:06d}"
        write_atomically(self._folder / f"{name}.png", encoded(pixels_of(picture), "PNG", frame.profile))

    def save(self) -> None:
        """Do nothing: each picture is on disk."""

    def finish(self) -> None:
        """Give the folder its name; replaces an empty folder only."""
        self._folder.replace(self._target)
        sync_folder(self._target.parent)


def pixels_of(picture: Tensor) -> NDArray[np.uint8]:
    """Map (3, H, W) in 0…1 to (H, W, 3), rounded to 256 levels."""
    pixels: NDArray[np.uint8] = (picture * 255).round_().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def encoded(pixels: NDArray[np.uint8], name: str, profile: bytes | None) -> bytes:
    """Return the content of a picture file in the format that Pillow calls `name`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, **OPTIONS.get(name, {}), **({"icc_profile": profile} if profile else {}))
    return file.getvalue()

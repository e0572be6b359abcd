"""Videos for the data tests: the real clips, fetched once, and small lossless ones whose every pixel is known."""

import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.clips import fetch_set
from service.errors import UserError
from tests.ddp.harness.lossless_video import write_video as write_video  # a fixture

ODD_KINDS = {
    "folder": "it is a folder",
    "pipe": "it is a named pipe",
    "socket": "it is a socket",
    "device": "it is a device",
    "dead-link": "it does not exist, or is a link that leads nowhere",
    "circle": "Too many levels of symbolic links",
    "empty": "it is empty",
    "huge": "it has more pixels than the 178,956,970 that one image may have",
    "caf\\xe9": "its name is not UTF-8: rename it",
}
"""The reason by name, without suffix, of each entry that `put_odd_entries` makes; the last name is as it is shown."""


@pytest.fixture(scope="session")
def clips_folder(repository: Path) -> Path:
    """The three clips of the small set, kept in the git-ignored data folder between test runs."""
    folder = repository / "data" / "clips"
    try:
        fetch_set("small", folder, lambda _: None)
    except UserError as error:
        pytest.skip(f"no real clips: {error}")
    return folder


@pytest.fixture(scope="session")
def textured() -> Callable[..., list[NDArray[np.uint8]]]:
    """Frames of a detailed scene that pans slowly; another seed is another scene."""

    def make(seed: int, count: int, height: int = 96, width: int = 120) -> list[NDArray[np.uint8]]:
        noise = np.random.default_rng(seed)
        level = noise.integers(20, 200)
        blocks = noise.integers(0, 50, (height // 4 + 1, (width + count) // 4 + 1, 3))
        scene = (level + np.kron(blocks, np.ones((4, 4, 1), dtype=int))).astype(np.uint8)
        return [np.ascontiguousarray(scene[:height, i : i + width]) for i in range(count)]

    return make


def png_header(width: int, height: int) -> bytes:
    """A PNG file that says its size and holds nothing else."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    chunks = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def put_odd_entries(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Put one entry of each of `ODD_KINDS` into a folder, all of them with one suffix."""

    def put(folder: Path, suffix: str) -> None:
        monkeypatch.chdir(folder)  # a socket's path must be short
        Path(f"folder{suffix}").mkdir()
        Path(f"folder{suffix}", "thumb.jpg").write_bytes(b"a preview")
        os.mkfifo(f"pipe{suffix}")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"socket{suffix}")
        Path(f"device{suffix}").symlink_to("/dev/zero")
        Path(f"dead-link{suffix}").symlink_to("nowhere")
        Path(f"circle{suffix}").symlink_to(f"circle{suffix}")
        Path(f"empty{suffix}").touch()
        Path(f"huge{suffix}").write_bytes(png_header(18000, 10200))
        Path(os.fsdecode(b"caf\xe9" + suffix.encode())).write_bytes(png_header(12, 12))

    return put

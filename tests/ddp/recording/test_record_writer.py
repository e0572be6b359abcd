"""Previews of a record as files."""

from pathlib import Path

import torch
from PIL import Image

from ddp.recording.record_writer import write_previews


def test_a_preview_that_is_too_long_for_its_format_is_reduced_as_a_whole(tmp_path: Path) -> None:
    """An error here would repeat at every attempt to write the record."""
    write_previews(tmp_path, 5, [("long.png", torch.zeros(3, 6, 16384, dtype=torch.uint8))])
    write_previews(tmp_path, 5, [("short.png", torch.zeros(3, 6, 16383, dtype=torch.uint8))])

    with Image.open(tmp_path / "step_5" / "long.webp") as image:
        assert image.size == (8192, 3)
    with Image.open(tmp_path / "step_5" / "short.webp") as image:
        assert image.size == (16383, 6)

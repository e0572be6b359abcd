"""The file of a rendered clip: a still or a moving WebP picture, written whole or not at all."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddp.recording.preview_writer import PreviewWriter, encode_pictures

PICTURES = [torch.full((3, 6, 10), level, dtype=torch.uint8) for level in (20, 120, 220)]


def test_several_pictures_move_at_the_rate_of_the_clip() -> None:
    with Image.open(io.BytesIO(encode_pictures(PICTURES, 25.0))) as image:
        assert (image.format, image.size, image.n_frames) == ("WEBP", (10, 6), 3)  # type: ignore[attr-defined]
        image.seek(2)
        image.load()
        assert image.info["duration"] == 40
        assert abs(image.convert("RGB").getpixel((5, 3))[0] - 220) < 4  # type: ignore[index]
    with Image.open(io.BytesIO(encode_pictures(PICTURES[:1], 25.0))) as image:
        assert not getattr(image, "is_animated", False)


def test_a_picture_is_written_whole_and_one_after_the_other(tmp_path: Path) -> None:
    writer, told = PreviewWriter(), list[str | None]()

    for index, picture in enumerate(PICTURES):
        writer.write(tmp_path / "step_5" / f"{index}.webp", [picture], 25.0, lambda problem: told.append(problem))
    writer.wait(30)

    assert told == [None] * 3
    assert sorted(path.name for path in (tmp_path / "step_5").iterdir()) == ["0.webp", "1.webp", "2.webp"]


@pytest.mark.parametrize("pictures", [PICTURES, [PICTURES[0], torch.zeros(1)]])
def test_what_keeps_a_picture_from_being_written_is_told(tmp_path: Path, pictures: list[torch.Tensor]) -> None:
    (tmp_path / "step_5").write_text("in the way")
    writer, told = PreviewWriter(), list[str | None]()

    writer.write(tmp_path / "step_5" / "a.webp", pictures, 25.0, lambda problem: told.append(problem))
    writer.wait(30)

    assert len(told) == 1
    assert str(told[0]).startswith("a.webp could not be written (")

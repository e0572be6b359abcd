"""Pictures of a validation: LR | KI | GT side by side, `previews/step_<step>/<name>.webp`."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from service.files import write_whole


def write_previews(folder: Path, step: int, previews: Sequence[tuple[str, Tensor]]) -> None:
    """Write each picture, (3, H, W) uint8, whole. Raises `OSError`."""
    if not previews:
        return
    target = folder / f"step_{step}"
    target.mkdir(parents=True, exist_ok=True)
    for name, picture in previews:
        write_whole(target / f"{Path(name).stem}.webp", _encode(picture))


def _encode(picture: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()

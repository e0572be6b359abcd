"""Writes the pictures of a rendered clip, on a thread of its own: to encode a moving picture takes seconds."""

import io
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ddp.recording.record_writer import MAX_WEBP_SIDE
from service.atomic_files import write_atomically
from service.errors import reason_and_remedy

QUALITY = 90

logger = logging.getLogger(__name__)


class PreviewWriter:
    """Writes one preview after the other. Methods are for one thread and do not wait, except for `wait`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def write(
        self, path: Path, pictures: Sequence[Tensor], rate: float, on_written: Callable[[str | None], None]
    ) -> None:
        """Write pictures (3, H, W) uint8 as one WebP file, moving at `rate` a second if there are several.

        `on_written` is called on the writer's thread with None, or with why the file could not be written.
        """
        before = self._thread

        def work() -> None:
            if before is not None:
                before.join()
            on_written(_written(path, pictures, rate))

        self._thread = threading.Thread(target=work, name="preview", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until all is written, at most `seconds`."""
        if self._thread is not None:
            self._thread.join(seconds)


def _written(path: Path, pictures: Sequence[Tensor], rate: float) -> str | None:
    """Write the file; return why it could not be written, or None."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, encode_pictures(pictures, rate))
    except OSError as error:
        return f"{path.name} could not be written ({reason_and_remedy(error)})"
    except Exception as error:  # where the thread begins: whatever else happens must be said, and ends nothing
        logger.exception("A preview met an unexpected error; the training goes on.")
        return f"{path.name} could not be made ({error})"
    return None


def encode_pictures(pictures: Sequence[Tensor], rate: float) -> bytes:
    """Encode pictures (3, H, W) uint8 as WebP, `rate` a second, reduced by a whole factor if the format needs it."""
    factor = -(-max(pictures[0].shape[1:]) // MAX_WEBP_SIDE)
    first, *others = [Image.fromarray(picture.permute(1, 2, 0).numpy()).reduce(factor) for picture in pictures]
    buffer = io.BytesIO()
    if others:
        milliseconds = max(1, round(1000 / rate))
        first.save(buffer, "WEBP", quality=QUALITY, save_all=True, append_images=others, duration=milliseconds, loop=0)
    else:
        first.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()

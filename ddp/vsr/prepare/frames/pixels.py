"""What a frame's pixels are: colours or grey, how deep, and the reason for which they cannot be shown.

Never opens a file, and never touches a pixel.
"""

import re
from typing import Any

COLOUR_COMPONENTS = 3
FLOATS = re.compile(r"f(16|32)(le|be)$")
"""Ends ffmpeg's names of pixel formats of floating-point numbers."""


class UnknownColoursError(Exception):
    """A frame's colours cannot be converted, or it cannot be turned upright.

    The message is the reason, without the file's name.
    """


def is_rgb(frame: Any) -> bool:
    """Return whether the pixels are red, green and blue, or numbers in a palette of such."""
    return bool(frame.format.is_rgb or frame.format.name == "pal8")


def is_without_chroma(frame: Any) -> bool:
    """Return whether the pixels are grey, with or without alpha."""
    return not is_rgb(frame) and len(frame.format.components) < COLOUR_COMPONENTS


def is_floating(frame: Any) -> bool:
    """Return whether the pixels are floating-point numbers."""
    return FLOATS.search(frame.format.name) is not None


def bits_of(frame: Any) -> int:
    """Return the bits of the deepest component."""
    return max(part.bits for part in frame.format.components)

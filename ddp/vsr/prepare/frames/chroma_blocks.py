"""Frames whose size is no multiple of what a chroma sample stands for, completed to one. Never opens a file."""

from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.pixels import UnknownColoursError, is_rgb, is_without_chroma


def is_even(frame: Any) -> bool:
    """Return whether every chroma sample stands for as many pixels as any other."""
    columns, rows = _chroma_block(frame)
    return frame.width % columns == 0 and frame.height % rows == 0


def _chroma_block(frame: Any) -> tuple[int, int]:
    """Return the pixels for which a chroma sample stands, in width and height."""
    if is_rgb(frame) or is_without_chroma(frame):
        return 1, 1
    return 64 // frame.format.chroma_width(64), 64 // frame.format.chroma_height(64)


def completed(frame: Any) -> Any:
    """Return the frame with even sides: the last chroma sample then stands for two pixels, as the encoder meant it.

    Raises UnknownColoursError for a pixel format that the filter knows in another order of bytes only.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    columns, rows = _chroma_block(frame)
    size = f"{frame.width + -frame.width % columns}:{frame.height + -frame.height % rows}"
    graph.link_nodes(source, graph.add("pad", size), graph.add("buffersink")).configure()
    graph.vpush(frame)
    even = graph.vpull()
    if even.format.name != frame.format.name:
        raise UnknownColoursError(
            f"its size is odd and its pixels are of the kind {frame.format.name}: convert it first"
        )
    # The filter paints over the last samples of an odd frame.
    for plane, original in zip(even.planes, frame.planes, strict=True):
        to, given = _rows_of(plane), _rows_of(original)
        height, width = min(len(to), len(given)), min(to.shape[1], given.shape[1])
        to[:height, :width] = given[:height, :width]
    return even


def _rows_of(plane: Any) -> NDArray[np.uint8]:
    """Return the bytes of a plane, one row a row, as a view."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)

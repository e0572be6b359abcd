"""Interlaced video as whole frames: ffmpeg's bwdif, one frame for each frame. Never opens a file.

A frame of interlaced video holds the lines of two moments. Woven together as they are stored, everything that moves has
combs. Progressive frames pass unchanged.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph

SMALLEST = 4  # rows and columns that the filter needs


class CannotDeinterlaceError(Exception):
    """The filter cannot work on such frames; the message is the reason, without the file's name."""


def progressive(frames: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield each frame, and whether it comes from an interlaced one, which is deinterlaced.

    Raises CannotDeinterlaceError for interlaced frames that are too small or of a pixel format without planes.
    """
    graph: Graph | None = None
    flags: list[bool] = []  # of the frames that are still in the filter
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame, False
            continue
        graph = graph or _graph_for(frame)
        flags.append(frame.interlaced_frame)
        graph.vpush(frame)
        yield from _finished(graph, frame.format.name, flags)
    if graph is not None:
        graph.vpush(None)
        yield from _finished(graph, "", flags)


def _graph_for(frame: Any) -> Graph:
    if min(frame.width, frame.height) < SMALLEST:
        raise CannotDeinterlaceError(f"it is interlaced and too small to be deinterlaced: {frame.width}x{frame.height}")
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _finished(graph: Graph, pixel_format: str, flags: list[bool]) -> Iterator[tuple[Any, bool]]:
    """Yield what the filter has ready. Raises CannotDeinterlaceError if it took another pixel format."""
    while flags:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        if pixel_format and frame.format.name != pixel_format:
            raise CannotDeinterlaceError(f"it is interlaced, and {pixel_format} pixels cannot be deinterlaced")
        yield frame, flags.pop(0)

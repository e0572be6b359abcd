"""How a frame is to be turned, whatever else it carries. Never turns a frame.

PyAV reads no side data at all of a frame with a kind that it has no name for, such as the EXIF of a camera's MJPEG: see
`findings/pyav-exif-hides-side-data.sh`.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type

NEWER_KINDS = 16
"""How many kinds of side data after the last one that PyAV knows are taken away."""


def display_matrix_of(frame: Any) -> tuple[int, int, int, int] | None:
    """Return a, b, c, d of x' = ax + cy, y' = bx + dy, in 1 / 65536; None if the frame says nothing of it."""
    try:
        found = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # of a kind that it has no name for
        found = _with_known_side_data(frame).side_data.get(Type.DISPLAYMATRIX)
    if found is None:
        return None
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(found), np.int32)[:5])
    return a, b, c, d


def _with_known_side_data(frame: Any) -> Any:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    values: list[Any] = [kind.value for kind in Type]
    first = int(max(values)) + 1
    removers = [graph.add("sidedata", f"mode=delete:type={kind}") for kind in range(first, first + NEWER_KINDS)]
    graph.link_nodes(source, *removers, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()

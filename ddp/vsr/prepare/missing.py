"""What of a video file is not there, by what its container promises: a decoder does not say it of every file cut off.

Never decodes.
"""

from pathlib import Path
from typing import Any

from ddp.vsr.prepare.video import opened_video, shown_stream

MISSING_SECONDS = 0.5
"""How much sooner than it says a file may end: containers round, and streams end at different times."""
MISSING_SHARE = 0.05
"""The share of frames that may be missing where the container counts frames without pictures too."""
PROMISING = frozenset({"matroska", "flv", "mxf"})
"""ffmpeg's names of containers that say at the beginning how long they are."""


def missing_part(path: Path) -> str:
    """Return why a file ends too early, by what its container promises; empty if it is whole, or promises nothing.

    A decoder does not say it of every file that is cut off. Raises DamagedVideoError.
    """
    with opened_video(path) as container:
        stream = shown_stream(container)
        if "mp4" in container.format.name:
            # Not by the number of frames: an edit list may leave frames out.
            end_bytes = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
            size_bytes = path.stat().st_size
            return f"it is cut off at {size_bytes:,} of {end_bytes:,} bytes" if end_bytes > size_bytes else ""
        return _missing_packets(container, stream)


def _missing_packets(container: Any, stream: Any) -> str:
    promised, count, end = stream.frames, 0, 0.0
    for packet in container.demux():
        if packet.size:
            count += packet.stream.index == stream.index
            end = max(end, _end_of(packet))
    if promised and count < promised * (1 - MISSING_SHARE):
        return f"it is cut off: {count} of {promised} frames are there"
    duration = (container.duration or 0) / 1_000_000
    length = end - max(0, container.start_time or 0) / 1_000_000
    if PROMISING & set(container.format.name.split(",")) and length < duration - MISSING_SECONDS:
        return f"it is cut off: it ends at {length:.1f} s of {duration:.1f} s"
    return ""


def _end_of(packet: Any) -> float:
    time = packet.pts if packet.pts is not None else packet.dts
    return 0.0 if time is None else float((time + (packet.duration or 0)) * packet.time_base)

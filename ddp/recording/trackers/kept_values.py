"""What a session start in event files must repeat, so that TensorBoard's fast loader hides what it should.

The fast loader, its default, ignores session starts. It drops the values of a tag from some step on only when the tag
gets a value of that step or an earlier one. After a rollback the curves of validations would show the abandoned branch
until the next validation, which may be hours away. The other loader shows a repeated value twice, at the same place.
"""

import mmap
import struct
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from ddp.recording.trackers.event_file import event_files

FRAME_BYTES = 16
"""Length and two checksums around each event."""
MAX_EVENTS_READ = 50_000
"""Values further back than this are not repeated; reading as many takes seconds."""


def kept_values(folder: Path, step: int) -> list[Event]:
    """Return, for every tag with values of later steps than `step`, its last value up to `step`, in events as written.

    A tag without such a value is left out. Raises `OSError`.
    """
    has_later: set[str] = set()
    kept: dict[str, tuple[Event, Summary.Value]] = {}
    for event in _visible_events_backwards(folder):
        for value in event.summary.value:
            if event.step > step:
                has_later.add(value.tag)
            elif value.tag in has_later:
                kept.setdefault(value.tag, (event, value))
        if event.step <= step and kept.keys() == has_later:
            break  # steps rise, but for session starts: before this one there is nothing of later steps
    return _as_events(list(kept.values())[::-1])


def _as_events(kept: Sequence[tuple[Event, Summary.Value]]) -> list[Event]:
    """Return events with these values, one for all values that were in one event before, in the order of steps."""
    values: dict[tuple[int, float], list[Summary.Value]] = defaultdict(list)
    for event, value in kept:
        values[(event.step, event.wall_time)].append(value)
    return [
        Event(step=step, wall_time=at, summary=Summary(value=found)) for (step, at), found in sorted(values.items())
    ]


def _visible_events_backwards(folder: Path) -> Iterator[Event]:
    """Yield the events that no later session start hides, the last one first."""
    hidden_from = float("inf")
    for number, event in enumerate(_events_backwards(folder)):
        if number >= MAX_EVENTS_READ:
            return
        if event.session_log.status == SessionLog.START:
            hidden_from = min(hidden_from, event.step)
        elif event.step < hidden_from and event.summary.value:
            yield event


def _events_backwards(folder: Path) -> Iterator[Event]:
    for path in reversed(event_files(folder)):
        with path.open("rb") as file:
            if path.stat().st_size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    yield from _framed_events_backwards(content)


def _framed_events_backwards(content: mmap.mmap) -> Iterator[Event]:
    """Yield the events of a file; one that cannot be read is left out, and so is what follows a frame that is cut."""
    starts, position, size = array("Q"), 0, len(content)
    while position + FRAME_BYTES <= size:
        (length,) = struct.unpack_from("<Q", content, position)
        if position + FRAME_BYTES + length > size:
            break
        starts.append(position)
        position += FRAME_BYTES + length
    for start in reversed(starts):
        (length,) = struct.unpack_from("<Q", content, start)
        try:
            yield Event.FromString(content[start + 12 : start + 12 + length])
        except DecodeError:
            continue

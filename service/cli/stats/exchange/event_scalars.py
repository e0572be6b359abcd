"""The scalars in TensorBoard's event files, as every reader of them sees the newest branch.

Needs tensorboardX, of which only the message types and the checksum are used.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.errors import plain_reason
from service.run.records.files import RecordProblem
from service.run.records.trackers.tracked_run import library

HEAD_BYTES, TAIL_BYTES = 12, 4
"""Around each event: its length and that one's checksum; the content's checksum."""
MAX_EVENT_BYTES = 256 * 1024 * 1024
_FLOAT, _DOUBLE = 1, 2
"""Numbers of TensorFlow's types."""


@dataclass
class EventScalars:
    """Values by tag and step, Unix times by step, and the files that could not be read to their ends."""

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    problems: list[RecordProblem] = field(default_factory=list)

    def add(self, event: Any) -> None:
        """Take the next event; the start of a session hides what is of its step and later ones."""
        if event.session_log.status == event.session_log.START:
            self._hide_from(event.step)
        for value in event.summary.value:
            number = _number(value)
            if number is not None:
                self.values.setdefault(value.tag, {})[event.step] = number
                self.times[event.step] = event.wall_time

    def _hide_from(self, step: int) -> None:
        for by_step in [*self.values.values(), self.times]:
            for later in [one for one in by_step if one >= step]:
                del by_step[later]


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder in the order in which TensorBoard reads them; raises `OSError`."""
    return sorted(path for path in folder.iterdir() if ".tfevents." in path.name and path.is_file())


def read_scalars(folder: Path) -> EventScalars:
    """Return the scalars in a folder's event files. Raises `UserError` without tensorboardX, or `OSError`."""
    library("tensorboardX", "TensorBoard's format", "tensorboardX")
    event_type = library("tensorboardX.proto.event_pb2", "TensorBoard's format", "tensorboardX").Event
    checksum = library("tensorboardX.record_writer", "TensorBoard's format", "tensorboardX").masked_crc32c
    found = EventScalars()
    for path in event_files(folder):
        try:
            for content in _contents(path, checksum):
                found.add(event_type.FromString(content))
        except (OSError, ValueError) as error:
            found.problems.append(RecordProblem(path, plain_reason(error)))
    return found


def _contents(path: Path, checksum: Any) -> Iterator[bytes]:
    """Yield the encoded events of a file; raises `ValueError` where it is damaged or ends within one."""
    with path.open("rb") as file:
        while head := file.read(HEAD_BYTES):
            length = _length(head, checksum)
            content, tail = file.read(length), file.read(TAIL_BYTES)
            if len(content) < length or len(tail) < TAIL_BYTES:
                raise ValueError("it ends within an event, what is before it is used")
            if struct.unpack("<I", tail)[0] != checksum(content):
                raise ValueError("an event in it is damaged, what is before it is used")
            yield content


def _length(head: bytes, checksum: Any) -> int:
    if len(head) < HEAD_BYTES:
        raise ValueError("it ends within an event, what is before it is used")
    length, expected = struct.unpack("<QI", head)
    if checksum(head[:8]) != expected or length > MAX_EVENT_BYTES:
        raise ValueError("it is no event file, or damaged; what is before that is used")
    return int(length)


def _number(value: Any) -> float | None:
    """Return the number in a value, as the older and the newer writers hold it; None if it is none, or not finite."""
    kind = value.WhichOneof("value")
    number = (
        value.simple_value if kind == "simple_value" else _tensor_number(value.tensor) if kind == "tensor" else None
    )
    return number if number is not None and abs(number) < float("inf") else None


def _tensor_number(tensor: Any) -> float | None:
    if tensor.dtype not in (_FLOAT, _DOUBLE) or tensor.tensor_shape.dim:
        return None
    for numbers in (tensor.float_val, tensor.double_val):
        if numbers:
            return float(numbers[0])
    form = "<f" if tensor.dtype == _FLOAT else "<d"
    content = tensor.tensor_content
    return float(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None


def newest_steps(by_step: Mapping[int, float], steps: list[int]) -> Iterator[tuple[int, float | None]]:
    """Yield each of some ascending steps with the newest value up to it, None before the first."""
    known = sorted(by_step.items())
    place, value = 0, None
    for step in steps:
        while place < len(known) and known[place][0] <= step:
            value = known[place][1]
            place += 1
        yield step, value

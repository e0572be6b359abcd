"""Output streams that never fail for a character."""

from collections.abc import Iterable
from contextlib import suppress
from io import TextIOWrapper
from typing import IO


def escape_unencodable(streams: Iterable[IO[str]]) -> None:
    """Let streams escape (as `\\xfc`) the characters that their encoding lacks, instead of raising an error."""
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # a pipe that was opened for reading too, which cannot be reconfigured
                stream.reconfigure(errors="backslashreplace")

"""Stack of another thread as text, taken without interrupting that thread."""

import sys
import traceback

MAX_BYTES = 8 * 1024
MAX_FRAMES = 64


def thread_stack(thread_id: int) -> str:
    """Return the Python stack of a thread of this process, the innermost call last.

    It has at most the `MAX_FRAMES` innermost calls and `MAX_BYTES` of UTF-8; it is empty if the thread has ended.
    """
    frame = sys._current_frames().get(thread_id)
    if frame is None:
        return ""
    lines: list[str] = []
    bytes_left = MAX_BYTES
    for line in reversed(traceback.format_stack(frame, limit=MAX_FRAMES)):
        bytes_left -= len(line.encode(errors="replace"))
        if bytes_left < 0:
            break
        lines.append(line)
    return "".join(reversed(lines))

"""Where a thread is in the program, as text, taken from outside: the thread itself notices nothing."""

import sys
import traceback

MAX_BYTES = 8 * 1024
MAX_FRAMES = 64


def thread_stack(thread_id: int) -> str:
    """The Python stack of a thread of this process, the innermost call last.

    At most `MAX_FRAMES` calls and `MAX_BYTES` of UTF-8, the innermost of them; empty when the thread has ended.
    """
    frame = sys._current_frames().get(thread_id)
    if frame is None:
        return ""
    lines: list[str] = []
    room = MAX_BYTES
    for line in reversed(traceback.format_stack(frame, limit=MAX_FRAMES)):
        room -= len(line.encode(errors="replace"))
        if room < 0:
            break
        lines.append(line)
    return "".join(reversed(lines))

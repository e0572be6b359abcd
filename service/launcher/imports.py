"""Importing large packages at the start of a process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python's garbage collector from what is imported within: now, and in every later collection.

    Nearly all that an import makes lives as long as the process, and the collector looks through it again and again:
    a sixth of the processor time of `import torch`, and 0.1 s in each full collection afterwards.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()

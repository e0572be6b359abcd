"""The temporary folder of a rank and its loader processes, for the sockets over which these hand tensors over.

`multiprocessing` makes one for each process, which stays if that is killed. This one is locked by the rank, and removed
by the next rank that starts on this machine once nobody has the lock.
"""

import multiprocessing.process
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from service.run.building import building_folder

NAME = "leitstand"
MAX_PATH_LENGTH = 80
"""The path of a socket in the folder has at most 107 characters."""


@contextmanager
def rank_temporary_folder() -> Iterator[None]:
    """Let this process and those that it starts use one temporary folder, which is removed at the end.

    Where that cannot be, each process uses its own as usual.
    """
    config = multiprocessing.process.current_process()._config  # type: ignore[attr-defined] # handed down to children
    with ExitStack() as stack:
        with suppress(OSError):
            folder = stack.enter_context(building_folder(Path(tempfile.gettempdir()) / NAME))
            folder.chmod(0o700)
            if len(str(folder)) <= MAX_PATH_LENGTH:
                config["tempdir"] = str(folder)
        try:
            yield
        finally:
            config.pop("tempdir", None)

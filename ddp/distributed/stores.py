"""torch's key-value stores between processes: the one in which ranks find each other, and the one that outlives them.

Under torchrun on one machine, its agent serves one store, which is both. On several machines, rank 0 serves a new one
at each start of the ranks; the one that outlives them is that of torchrun's rendezvous.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ddp.distributed.environment import RankEnvironment
from service.errors import SettingError
from service.launcher.machines.nodes import ENDPOINT
from service.launcher.machines.silence import limit_silence

CONNECT_TIMEOUT = timedelta(minutes=1)
MEET_TIMEOUT = timedelta(minutes=5)
"""How long tasks without torchrun wait for each other: their machines need not start them at the same time."""
STATUS_STORE_TIMEOUT = timedelta(seconds=5)
PROBE_SECONDS = 2.0


class NoteStore:
    """Short texts by key in one of the stores; a store that cannot be reached keeps and gives none."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port

    def write(self, key: str, text: str) -> None:
        """Replace the text of a key."""
        if self._is_reachable():
            with suppress(RuntimeError):
                # A name of a file that is not UTF-8 may be part of the text.
                self._open().set(key, text.encode(errors="replace").decode())

    def read(self, key: str) -> str | None:
        """Return the text of a key, or None without one."""
        if self._is_reachable():
            with suppress(RuntimeError):
                store = self._open()
                if store.check([key]):
                    return bytes(store.get(key)).decode()
        return None

    def _open(self) -> Any:
        return _connect(self._address, self._port, STATUS_STORE_TIMEOUT)

    def _is_reachable(self) -> bool:
        """Whether the store's address accepts connections; without this check torch retries for long and logs it."""
        try:
            socket.create_connection((self._address, self._port), PROBE_SECONDS).close()
        except OSError:
            return False
        return True


def notes_of_start(environment: Mapping[str, str]) -> NoteStore:
    """Return the notes between the ranks that run now."""
    return NoteStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))


def have_launcher_of_machines(environment: Mapping[str, str]) -> bool:
    """Return True if `leitstand train` started the ranks, on one of several machines."""
    return ENDPOINT in environment


def lasting_notes(environment: Mapping[str, str]) -> NoteStore:
    """Return the notes to the ranks that the launcher starts next."""
    if not have_launcher_of_machines(environment):
        return notes_of_start(environment)
    address, _, port = environment[ENDPOINT].rpartition(":")
    return NoteStore(address, int(port))


def open_store(timeout: timedelta = STATUS_STORE_TIMEOUT) -> Any:
    """Open a new connection to the store at the master's address. Raises `RuntimeError`."""
    return _connect(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout)


def is_shared_with_earlier_starts(environment: Mapping[str, str]) -> bool:
    """Return True if torchrun's agent serves the store at the master's address, and has done so for earlier ranks."""
    return environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def rendezvous_arguments(
    rank_environment: RankEnvironment, environment: Mapping[str, str], timeout: timedelta
) -> dict[str, Any]:
    """Return the arguments for the rendezvous: a store with a new key prefix per restart, or torch's defaults.

    The store of torchrun's agent outlives the workers, and torch 2.13 would read the old workers' addresses from it.
    Raises `SettingError` if tasks without torchrun do not meet.
    """
    if is_shared_with_earlier_starts(environment):
        store = open_store(CONNECT_TIMEOUT)
    elif "TORCHELASTIC_RUN_ID" in environment:
        return {}
    else:
        store = _store_of_tasks(rank_environment, environment)
    prefix_store = dist.PrefixStore  # type: ignore[attr-defined]  # as below
    store.set_timeout(timeout)
    store_of_restart = prefix_store(f"leitstand/ranks/{rank_environment.restarts}", store)
    return {"store": store_of_restart, "rank": rank_environment.rank, "world_size": rank_environment.world_size}


def _connect(address: str, port: int, timeout: timedelta) -> Any:
    tcp_store = dist.TCPStore  # type: ignore[attr-defined]  # it is public, but missing in torch's stubs
    store = tcp_store(address, port, is_master=False, wait_for_workers=False, timeout=timeout)
    limit_silence()
    return store


def _store_of_tasks(rank_environment: RankEnvironment, environment: Mapping[str, str]) -> Any:
    """Serve the store on rank 0, connect to it on the others, and wait until all are there.

    Raises `SettingError` if they do not meet.
    """
    tcp_store = dist.TCPStore  # type: ignore[attr-defined]  # as above
    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    size = rank_environment.world_size
    try:
        return tcp_store(address, port, size, is_master=rank_environment.is_main, timeout=MEET_TIMEOUT)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"The {size} ranks did not meet at {address}, port {port} ({reason}); MASTER_ADDR must be the machine of "
            "rank 0 and MASTER_PORT free there, the same for all ranks."
        ) from None

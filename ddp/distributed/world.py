"""The ranks of one training and the only way between them.

The one module that talks to `torch.distributed`'s process groups and reads RANK and WORLD_SIZE. Gradients travel in the
default group (NCCL or gloo) inside DDP; everything else travels as CPU tensors in a gloo group of its own, so that
control and metrics never wait for, nor disturb, the GPU's stream.
"""

import inspect
import os
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ddp.distributed.eager import EagerDDP
from ddp.distributed.environment import RankEnvironment, choose_device
from ddp.distributed.status_store import LocalStatusStore, StatusStore, TcpStatusStore

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
CONNECT_TIMEOUT = timedelta(minutes=1)
STATUS_STORE_TIMEOUT = timedelta(seconds=5)
KNOCK_SECONDS = 2.0
SUCCESSORS_KEY = "leitstand/to successors"

_SIGNS_OF_LOSS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")

T = TypeVar("T")


class PendingAgreement:
    """A control word on its way: `result` waits for it and gives the bitwise OR over all ranks."""

    def __init__(self, word: Tensor, work: Any) -> None:
        self._word = word
        self._work = work

    def result(self) -> tuple[int, int]:
        """The two numbers that all ranks now hold."""
        if self._work is not None:
            self._work.wait()
        first, second = self._word.tolist()
        return first, second


class World:
    """All ranks together, seen from one of them. A world of one needs no process group and no launcher."""

    def __init__(self, place: RankEnvironment, device: torch.device) -> None:
        self.rank = place.rank
        self.size = place.world_size
        self.is_main = place.is_main
        self.restarts_left = place.restarts_left
        self.restarts = place.restarts  # how often the launcher has started all ranks anew after a failure
        self.device = device
        self.host = socket.gethostname()
        self._side: Any = None  # the gloo group for everything but gradients; None in a world without groups

    @classmethod
    def join(cls, place: RankEnvironment, device_setting: str, threads: int) -> "World":
        """Meet the other ranks. Raises `SettingError` when the wanted device is not there for every rank."""
        device = choose_device(device_setting, place)
        torch.set_num_threads(threads)
        world = cls(place, device)
        if not place.is_launched:
            return world
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            timeout=COLLECTIVE_TIMEOUT,
            device_id=device if on_gpu else None,
            **_meeting_place(place, os.environ),
        )
        world._side = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
        return world

    def leave(self) -> None:
        """Take leave of the other ranks; afterwards no collective is possible."""
        if self._side is not None:
            self._side = None
            dist.destroy_process_group()

    def wrap(self, model: nn.Module, *, static_graph: bool, share_buckets: bool) -> nn.Module:
        """The model whose backward averages gradients over all ranks; the model itself in a world without groups.

        `static_graph` promises that every step uses the same layers; `share_buckets` lets gradients live in DDP's
        buckets instead of beside them.
        """
        if self._side is None:
            return model
        # Buffers are not broadcast: validation runs on the unwrapped model, and a broadcast per forward is a collective
        # that ranks with fewer validation images would miss.
        # torch 2.13 renamed the switch and warns of the older name.
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        without_buffers: dict[str, Any] = {switch: False}
        return EagerDDP(
            model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=share_buckets,
            static_graph=static_graph,
            **without_buffers,
        )

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Within it, `wrapped` keeps gradients local: for all micro-batches of a step but the last."""
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def agree(self, first: int, second: int) -> PendingAgreement:
        """Send this rank's control word, 2 × int64 = 16 bytes; all ranks get the bitwise OR. Returns at once."""
        word = torch.tensor([first, second], dtype=torch.int64)
        if self._side is None:
            return PendingAgreement(word, None)
        return PendingAgreement(word, dist.all_reduce(word, op=dist.ReduceOp.BOR, group=self._side, async_op=True))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks of a CPU tensor, in place."""
        if self._side is not None:
            dist.all_reduce(values, group=self._side)
        return values

    def gather(self, item: T) -> list[T]:
        """Every rank's item, by rank, on every rank."""
        if self._side is None:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self._side)
        return items

    def status_store(self) -> StatusStore:
        """Where this rank posts texts outside of collectives; connects when it is first used, to what torchrun serves.

        Under torchrun with its agent's store as under a plain launcher, where rank 0 serves it, the store listens at
        the master's address for as long as the process groups live.
        """
        if self._side is None:
            return LocalStatusStore()
        connect = partial(_agent_store, os.environ, STATUS_STORE_TIMEOUT)
        return TcpStatusStore(connect, f"leitstand/board/{self.restarts}", self.rank, self.size)

    def publish_failure(self, reason: str) -> None:
        """Leave word of why this rank ends, for the ranks that will only see that it is gone."""
        self._note(self._farewell_key, reason)

    def published_failure(self) -> str | None:
        """Why another rank ended, if it left word."""
        return self._noted(self._farewell_key)

    def leave_restart_note(self, word: str) -> None:
        """Leave word for the ranks that the launcher starts after an accident of these; the last one counts."""
        self._note(SUCCESSORS_KEY, word)

    def restart_note(self) -> str | None:
        """What the ranks before the accident left word of, if there was one; the same on every rank."""
        return self.from_main(self._noted(SUCCESSORS_KEY) if self.is_main and self.restarts else None)

    @property
    def _farewell_key(self) -> str:
        return f"leitstand/farewell/{self.restarts}"

    def _note(self, key: str, text: str) -> None:
        if self._side is not None and _is_served(os.environ):
            with suppress(RuntimeError):
                _agent_store(os.environ, STATUS_STORE_TIMEOUT).set(key, text)

    def _noted(self, key: str) -> str | None:
        if self._side is not None and _is_served(os.environ):
            with suppress(RuntimeError):
                store = _agent_store(os.environ, STATUS_STORE_TIMEOUT)
                if store.check([key]):
                    return bytes(store.get(key)).decode()
        return None

    def raise_together(self, problem: Exception | None) -> None:
        """Raise on every rank the first problem that any rank met, so that no rank waits for one that left."""
        problems = [found for found in self.gather(problem) if found is not None]
        if problems:
            raise problems[0]

    def from_main(self, item: T) -> T:
        """Rank 0's item, on every rank."""
        if self._side is None:
            return item
        box = [item]
        dist.broadcast_object_list(box, src=0, group=self._side)
        return box[0]


def _meeting_place(place: RankEnvironment, environment: Mapping[str, str]) -> dict[str, Any]:
    """Where the ranks exchange addresses: torch's own place, but under torchrun's agent a fresh one per restart.

    The agent's store outlives its workers, and torch 2.13 reads the addresses of those that are gone from it.
    """
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    prefixed = dist.PrefixStore  # type: ignore[attr-defined]  # as below
    store = _agent_store(environment, CONNECT_TIMEOUT)
    store.set_timeout(COLLECTIVE_TIMEOUT)
    fresh = prefixed(f"leitstand/ranks/{place.restarts}", store)
    return {"store": fresh, "rank": place.rank, "world_size": place.world_size}


def _is_served(environment: Mapping[str, str]) -> bool:
    """Whether anything listens where the store was: of a launcher that is gone, torch asks at length and aloud."""
    try:
        socket.create_connection((environment["MASTER_ADDR"], int(environment["MASTER_PORT"])), KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


def _agent_store(environment: Mapping[str, str], timeout: timedelta) -> Any:
    """A connection of its own to the store at the master's address."""
    kind = dist.TCPStore  # type: ignore[attr-defined]  # it is public, but torch's own stubs do not say so
    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    return kind(address, port, is_master=False, wait_for_workers=False, timeout=timeout)


def is_loss_of_peer(error: BaseException) -> bool:
    """Whether a collective failed because the process at its other end is gone."""
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS_OF_LOSS)

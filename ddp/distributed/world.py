"""The ranks of one training and all collectives between them.

The only module that uses `torch.distributed`'s process groups. DDP reduces gradients in the default group (NCCL or
gloo); everything else is exchanged as CPU tensors in a separate gloo group, so that control and metrics neither wait
for the GPU's stream nor disturb it.
"""

import inspect
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ddp.distributed.eager import EagerDDP
from ddp.distributed.environment import RankEnvironment, choose_device
from ddp.distributed.peer_loss import PeerLossError
from ddp.distributed.pending_gather import PendingGather, packed
from ddp.distributed.status_store import LocalStatusStore, StatusStore, TcpStatusStore
from ddp.distributed.stores import (
    have_launcher_of_machines,
    is_shared_with_earlier_starts,
    lasting_notes,
    notes_of_start,
    open_store,
    rendezvous_arguments,
)
from service.launcher.machines.silence import limit_silence

COLLECTIVE_TIMEOUT_SECONDS = 1800.0
RESTART_NOTE_KEY = "leitstand/to successors"

_PEER_LOSS_MESSAGES = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited",
    "Connection timed out", "No route to host",
)  # fmt: skip

_TIMEOUT_MESSAGES = ("Timed out waiting", "Application timeout caused pair closure", "wait timeout after")

T = TypeVar("T")


class PendingAgreement:
    """A control word being reduced; `result` waits for it and returns the bitwise OR over all ranks."""

    def __init__(self, word: Tensor, work: Any) -> None:
        self._word = word
        self._work = work

    def result(self) -> tuple[int, int]:
        """Wait, and return the two numbers, the same on all ranks."""
        if self._work is not None:
            self._work.wait()
        first, second = self._word.tolist()
        return first, second


class World:
    """All ranks, from the view of one of them. A world of one needs no process group and no launcher."""

    def __init__(self, environment: RankEnvironment, device: torch.device) -> None:
        self.rank = environment.rank
        self.size = environment.world_size
        self.is_main = environment.is_main
        self.restarts_left = environment.restarts_left
        self.restarts = environment.restarts  # how often the launcher has restarted all ranks after a failure
        self.device = device
        self.host = socket.gethostname()
        # Tells apart what starts of the ranks leave in one store. Where each start has its own, the number must not be
        # that of the restarts: on several machines, the launcher of one may have begun later.
        self._start = environment.restarts if is_shared_with_earlier_starts(os.environ) else 0
        self._gloo_group: Any = None  # for everything but gradients; None in a world of one

    @classmethod
    def join(
        cls,
        environment: RankEnvironment,
        device_setting: str,
        threads: int,
        timeout_seconds: float = COLLECTIVE_TIMEOUT_SECONDS,
    ) -> "World":
        """Join the process groups, in which a rank waits for the others for at most `timeout_seconds`.

        Raises `SettingError` if a rank has no such device, or the ranks cannot meet.
        """
        device = choose_device(device_setting, environment)
        torch.set_num_threads(threads)
        world = cls(environment, device)
        if not environment.is_launched:
            return world
        on_gpu, timeout = device.type == "cuda", timedelta(seconds=timeout_seconds)
        if on_gpu:
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            timeout=timeout,
            device_id=device if on_gpu else None,
            **rendezvous_arguments(environment, os.environ, timeout),
        )
        world._gloo_group = dist.new_group(backend="gloo", timeout=timeout)
        limit_silence()
        return world

    def leave(self) -> None:
        """Leave the process groups; afterwards no collective is possible."""
        if self._gloo_group is not None:
            self._gloo_group = None
            dist.destroy_process_group()

    def wrap(self, model: nn.Module, *, static_graph: bool, share_buckets: bool) -> nn.Module:
        """Wrap a model in DDP, so that its backward averages gradients; return it unchanged in a world of one.

        `static_graph` promises that every step uses the same layers; `share_buckets` stores gradients in DDP's buckets
        instead of separate memory.
        """
        if self._gloo_group is None:
            return model
        # DDP does not broadcast buffers: `ddp.step.buffers` does, at the end of a step instead of the next one's start.
        # torch 2.13 renamed the option and warns about the old name.
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        without_buffers: dict[str, Any] = {option: False}
        return EagerDDP(
            model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=share_buckets,
            static_graph=static_graph,
            **without_buffers,
        )

    def take_from_main(self, tensors: list[Tensor]) -> None:
        """Replace the values of tensors on this rank's device by those of rank 0; one collective per data type.

        The device does not wait: on a GPU the collective is queued on its stream.
        """
        if self._gloo_group is None or not tensors:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            dist.broadcast(flat, src=0)
            for tensor, values in zip(same, flat.split([tensor.numel() for tensor in same]), strict=True):
                tensor.detach().copy_(values.view_as(tensor))

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Return a context without gradient reduction, for all micro-batches of a step but the last."""
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def agree(self, first: int, second: int) -> PendingAgreement:
        """Start the bitwise OR of this rank's control word, 2 × int64 = 16 bytes, over all ranks; do not wait."""
        word = torch.tensor([first, second], dtype=torch.int64)
        if self._gloo_group is None:
            return PendingAgreement(word, None)
        return PendingAgreement(
            word, dist.all_reduce(word, op=dist.ReduceOp.BOR, group=self._gloo_group, async_op=True)
        )

    def sum(self, values: Tensor) -> Tensor:
        """Sum a CPU tensor over all ranks, in place, and return it."""
        if self._gloo_group is not None:
            # gloo (torch 2.13) takes numbers in their order in memory, whatever the strides, and says nothing.
            whole = values.contiguous()
            dist.all_reduce(whole, group=self._gloo_group)
            if whole is not values:
                values.copy_(whole)
        return values

    def gather(self, item: T) -> list[T]:
        """Return the items of all ranks, by rank, on every rank."""
        if self._gloo_group is None:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self._gloo_group)
        return items

    def begin_gather(self, item: Any) -> PendingGather:
        """Start to send an item of every rank to rank 0; do not wait. Raises `ValueError` if one is too large."""
        sent = packed(item)
        if self._gloo_group is None:
            return PendingGather([sent], None)
        received = [torch.empty_like(sent) for _ in range(self.size)] if self.is_main else []
        work = dist.gather(sent, received or None, dst=0, group=self._gloo_group, async_op=True)
        return PendingGather(received, work)

    def status_store(self) -> StatusStore:
        """Return the status store of the ranks; it connects at first use.

        It uses torch's key-value store at the master's address, which torchrun's agent or, under another launcher,
        rank 0 serves for as long as the process groups exist.
        """
        if self._gloo_group is None:
            return LocalStatusStore()
        return TcpStatusStore(open_store, f"leitstand/board/{self._start}", self.rank, self.size)

    def publish_failure(self, reason: str) -> None:
        """Publish why this rank ends, for the ranks that only notice a lost connection."""
        if self._gloo_group is not None:
            notes_of_start(os.environ).write(self._failure_key, reason)

    def published_failure(self) -> str | None:
        """Return why another rank ended, if it has published a reason."""
        return None if self._gloo_group is None else notes_of_start(os.environ).read(self._failure_key)

    @property
    def tells_successors_of_end(self) -> bool:
        """Whether this rank has to note that all ranks have ended for good, since torchrun takes that for a failure.

        `leitstand train` on several machines knows it by the exit codes, and also ends ranks to take in a machine.
        """
        return self.is_main and not have_launcher_of_machines(os.environ)

    def leave_restart_note(self, note: str) -> None:
        """Store a note for the ranks that the launcher starts after a failure; it replaces an earlier one."""
        if self._gloo_group is not None:
            lasting_notes(os.environ).write(RESTART_NOTE_KEY, note)

    def restart_note(self) -> str | None:
        """Return the note of the ranks before the restart, if there is one; the same on every rank."""
        is_asking = self.is_main and self._gloo_group is not None
        return self.from_main(lasting_notes(os.environ).read(RESTART_NOTE_KEY) if is_asking else None)

    def repeats_failure(self, what: str) -> bool:
        """Store what this rank fails with; return True if it was the same before the launcher restarted all ranks."""
        if self._gloo_group is None:
            return False
        notes, key = lasting_notes(os.environ), f"leitstand/failure/{self.rank}"
        earlier, what = notes.read(key), what.encode(errors="replace").decode()
        notes.write(key, what)
        return earlier == what

    @property
    def _failure_key(self) -> str:
        return f"leitstand/farewell/{self._start}"

    def raise_together(self, problem: Exception | None) -> None:
        """Raise the first problem of any rank on every rank, so that no rank waits for one that has left."""
        problems = [found for found in self.gather(problem) if found is not None]
        if problems:
            raise problems[0]

    def from_main(self, item: T) -> T:
        """Return rank 0's item on every rank."""
        if self._gloo_group is None:
            return item
        items = [item]
        dist.broadcast_object_list(items, src=0, group=self._gloo_group)
        return items[0]


class CollectiveTimeoutError(RuntimeError):
    """Ranks that waited too long for each other; the text names the rank that was not heard from."""


def is_collective_timeout(error: BaseException) -> bool:
    """Whether a collective failed because another rank did not take part in time."""
    text = str(error)
    return isinstance(error, RuntimeError) and any(message in text for message in _TIMEOUT_MESSAGES)


def is_peer_loss(error: BaseException) -> bool:
    """Whether a collective failed, or a wait was given up, because another rank's process has ended."""
    text = str(error)
    return isinstance(error, PeerLossError) or (
        isinstance(error, RuntimeError) and any(message in text for message in _PEER_LOSS_MESSAGES)
    )

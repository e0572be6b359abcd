"""Copies states to the host on a thread of its own, while the training thread makes the next forward and backward.

training thread   `begin`: what is small is copied
copier            what is large: collect, take memory, copy; on a GPU beside the step's own work
writer            `StateCopy.result`, writing, `StateCopy.release`: the memory serves the next copy

On a CPU one call of `torch._foreach_copy_` copies all, during which the training thread has the interpreter.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddp.checkpoint.host_buffers import HostBuffers
from service.background_thread import BackgroundThread, ErrorBoundary

Later = Mapping[str, Callable[[], Any]]
"""By key in a state: a function that returns a part of it, called on the copier's thread."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Slot:
    """The place in a state of a tensor that is still to be copied: its index among these."""

    index: int


class StateCopy:
    """A state that is being copied. Each of its methods belongs to one thread."""

    def __init__(self, state: Mapping[str, Any], later: Later, memory: HostBuffers, device: torch.device) -> None:
        """Copy `state` now, on the training thread; what `later` returns replaces the values under its keys."""
        self._sources: list[Tensor] = []
        self._state: Any = {key: _copied(value, self._sources) for key, value in state.items()}
        self._later = later
        self._memory = memory
        self._ready: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._ready = torch.cuda.Event()
            self._ready.record()
        self._copied: torch.cuda.Event | None = None
        self._buffers: list[Tensor] = []
        self._problem: Exception | None = None
        self._is_taken, self._has_arrived = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._is_released = False

    def wait_until_taken(self) -> None:
        """Wait on the training thread until the sources may be changed. The host does not wait for a GPU's copies."""
        self._is_taken.wait()
        if self._copied is not None:
            torch.cuda.current_stream().wait_event(self._copied)

    def take(self, stream: torch.cuda.Stream | None) -> None:
        """Copy on the copier's thread, on this stream of a GPU. A failure is raised by `result`."""
        try:
            if not self._is_released:
                self._copy(stream)
            self._is_taken.set()
            if self._copied is not None:
                self._copied.synchronize()
        except Exception as error:  # noqa: BLE001 - the thread that wants the state reports it, with its traceback
            self._problem = error
        finally:
            self._is_taken.set()
            self._arrive()

    @torch.no_grad()
    def _copy(self, stream: torch.cuda.Stream | None) -> None:
        for key, collect in self._later.items():
            self._state[key] = _noted(collect(), self._sources)
        self._buffers = self._memory.take(self._sources)
        pairs = list(zip(self._buffers, self._sources, strict=True))
        on_host = [pair for pair in pairs if pair[1].device.type != "cuda"]
        if on_host:
            torch._foreach_copy_([buffer for buffer, _ in on_host], [source for _, source in on_host])
        if stream is None or self._ready is None:
            return
        with torch.cuda.stream(stream):
            stream.wait_event(self._ready)
            for buffer, source in pairs:
                if source.device.type == "cuda":
                    buffer.copy_(source, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(stream)
        self._copied = copied

    def _arrive(self) -> None:
        with self._lock:
            self._sources, self._later = [], {}
            self._has_arrived.set()
        if self._is_released:
            self._give_back()

    def result(self) -> dict[str, Any]:
        """Wait on the writer's thread, and return the state on the host; it is valid until `release`.

        Raises what the copy failed with.
        """
        self._has_arrived.wait()
        if self._problem is not None:
            raise self._problem
        state: dict[str, Any] = _map(self._state, _Slot, lambda slot: self._buffers[slot.index])
        return state

    def release(self) -> None:
        """Let the next copy have the memory, once this one has arrived; any thread may call it."""
        with self._lock:
            self._is_released = True
        if self._has_arrived.is_set():
            self._give_back()

    def _give_back(self) -> None:
        with self._lock:
            buffers, self._buffers, self._state = self._buffers, [], None
        if buffers:
            self._memory.give_back(buffers)


class StateCopier:
    """Copies states. Its memory: one copy from the first step on, and one for each further state not written yet."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._memory = HostBuffers()
        self._waiting: deque[Callable[[], None]] = deque()
        self._boundary = ErrorBoundary(logger)
        self._thread = BackgroundThread(
            "checkpoint copier",
            self._run_waiting,
            boundary=self._boundary,
            error_message="The checkpoint copier met an unexpected error; it goes on.",
            at_end=self._run_waiting,
        )
        self._thread.start()

    def begin(self, state: Mapping[str, Any], later: Later) -> StateCopy:
        """Begin to copy a state, and return.

        `state` is copied now, but for the values under the keys of `later`: the copier's thread calls these functions,
        and nothing may change the tensors that they return before `StateCopy.wait_until_taken`.
        """
        copy = StateCopy(state, later, self._memory, self._device)
        self._waiting.append(lambda: copy.take(self._stream))
        self._thread.wake()
        return copy

    def prepare(self, later: Later) -> None:
        """Take the memory for a state, and touch all of it, on the copier's thread."""
        self._waiting.append(lambda: self._prepare(later))
        self._thread.wake()

    def _prepare(self, later: Later) -> None:
        sources: list[Tensor] = []
        with self._boundary.guard("The memory for checkpoints could not be made ready; the first one tries it again."):
            for collect in later.values():
                _noted(collect(), sources)
            self._memory.prepare(sources)

    def close(self) -> None:
        """Take the copies that were begun, and end the thread."""
        self._thread.close()

    def _run_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()()


def _copied(value: Any, sources: list[Tensor]) -> Any:
    """Copy containers and tensors; those on a GPU are copied there, and go on to the host as `sources`."""

    def copy(tensor: Tensor) -> Tensor | _Slot:
        copied = tensor.detach().clone()
        return copied if copied.device.type != "cuda" else _slot(copied, sources)

    return _map(value, Tensor, copy)


def _noted(value: Any, sources: list[Tensor]) -> Any:
    """Copy containers; all tensors become slots, and `sources` that are still to be copied."""
    return _map(value, Tensor, lambda tensor: _slot(tensor, sources))


def _slot(tensor: Tensor, sources: list[Tensor]) -> _Slot:
    sources.append(tensor)
    return _Slot(len(sources) - 1)


def _map(value: Any, kind: type[Any], change: Callable[[Any], Any]) -> Any:
    """Return a copy of nested containers, in which everything of this kind is changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map(item, kind, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map(item, kind, change) for item in value)
    return value

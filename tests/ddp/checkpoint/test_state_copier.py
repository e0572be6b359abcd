"""Copies of states, taken on a thread of their own: equal, independent, in memory that is used again."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ddp.checkpoint.host_buffers import MAX_FREE, HostBuffers
from ddp.checkpoint.state_copier import StateCopier, StateCopy

PATIENCE_SECONDS = 60


@pytest.fixture
def copier() -> Iterator[StateCopier]:
    copier = StateCopier(torch.device("cpu"))
    yield copier
    copier.close()


def begin(copier: StateCopier, weights: Any) -> StateCopy:
    """Copy a state with nothing but large tensors."""
    return copier.begin({"stepper": {}}, {"stepper": lambda: weights})


def addresses(state: Any) -> list[int]:
    return [tensor.data_ptr() for tensor in state["stepper"]]


def test_a_copy_is_what_the_state_was_whatever_changes_afterwards(copier: StateCopier) -> None:
    norms, row, weights = [1.0, 2.0], torch.ones(3), torch.arange(6.0)
    copy = copier.begin(
        {"controller": {"norms": norms}, "stepper": {}, "window": {"row": row[1], "names": ("a", 1)}},
        {"stepper": lambda: {"model": {"weight": weights, "count": torch.tensor(3)}, "average": None}},
    )
    norms.append(3.0)  # what is small is copied at once
    row.fill_(7)
    copy.wait_until_taken()
    weights.fill_(9)

    state = copy.result()
    assert list(state) == ["controller", "stepper", "window"]
    assert state["controller"] == {"norms": [1.0, 2.0]}
    assert state["window"]["names"] == ("a", 1)
    assert float(state["window"]["row"]) == 1
    assert state["window"]["row"].untyped_storage().nbytes() == 4  # not the row that it was part of
    assert torch.equal(state["stepper"]["model"]["weight"], torch.arange(6.0))
    assert int(state["stepper"]["model"]["count"]) == 3
    assert state["stepper"]["average"] is None


def test_copies_keep_shape_type_and_order_in_memory_and_share_nothing(copier: StateCopier) -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tied = torch.randn(4)
    sources = [image, torch.tensor(2.0), torch.ones(2, dtype=torch.bfloat16), torch.zeros(0), tied, tied, tied[1:]]

    found = begin(copier, sources).result()["stepper"]

    for copied, source in zip(found, sources, strict=True):
        assert torch.equal(copied, source)
        assert (copied.dtype, copied.stride()) == (source.dtype, source.stride())
        assert copied.untyped_storage().nbytes() == source.nbytes
    assert len({copied.data_ptr() for copied in found if copied.numel()}) == 6


def test_the_memory_of_a_state_that_was_written_serves_the_next_one(copier: StateCopier) -> None:
    first = begin(copier, [torch.ones(1000), torch.ones(10)])
    used = addresses(first.result())
    second = begin(copier, [torch.ones(1000), torch.ones(10)])
    assert not set(addresses(second.result())) & set(used)  # the first one is still being written
    first.release()
    first.release()

    third = begin(copier, [torch.full((1000,), 3.0), torch.ones(10)])
    state = third.result()
    assert addresses(state) == used
    assert torch.equal(state["stepper"][0], torch.full((1000,), 3.0))


def test_memory_that_was_made_ready_serves_the_first_state(
    copier: StateCopier, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    empty_like = torch.empty_like

    def noting(source: Tensor, **options: Any) -> Tensor:
        made.append(source.numel())
        return empty_like(source, **options)

    monkeypatch.setattr(torch, "empty_like", noting)
    copier.prepare({"stepper": lambda: [torch.ones(1000)]})
    copy = begin(copier, [torch.full((1000,), 2.0)])

    assert torch.equal(copy.result()["stepper"][0], torch.full((1000,), 2.0))
    assert made == [1000]


def test_memory_of_another_shape_is_not_used_and_not_kept() -> None:
    buffers = HostBuffers()
    small = buffers.take([torch.ones(3)])
    buffers.give_back(small)

    (taken,) = buffers.take([torch.ones(4)])

    assert taken.shape == (4,)
    (other,) = buffers.take([torch.ones(3)])
    assert other is not small[0]


def test_one_set_of_buffers_is_kept_however_many_states_waited() -> None:
    buffers, sources = HostBuffers(), [torch.ones(3)]
    sets = [buffers.take(sources) for _ in range(4)]
    for taken in sets:
        buffers.give_back(taken)

    again = [buffers.take(sources) for _ in range(4)]

    assert sum(any(one[0] is other[0] for other in sets) for one in again) == MAX_FREE == 1


def test_a_copy_that_fails_keeps_nobody_waiting_and_says_why(copier: StateCopier) -> None:
    def fail() -> list[Tensor]:
        raise MemoryError("no room for a copy")

    copy = copier.begin({"stepper": {}}, {"stepper": fail})
    copy.wait_until_taken()

    with pytest.raises(MemoryError, match="no room for a copy"):
        copy.result()
    copy.release()
    assert torch.equal(begin(copier, [torch.ones(2)]).result()["stepper"][0], torch.ones(2))


def test_memory_that_cannot_be_made_ready_is_logged_and_ends_nothing(
    copier: StateCopier, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> list[Tensor]:
        raise MemoryError("no room yet")

    copier.prepare({"stepper": fail})
    copy = begin(copier, [torch.ones(2)])
    copier.close()  # takes what was begun

    assert torch.equal(copy.result()["stepper"][0], torch.ones(2))
    assert "The memory for checkpoints could not be made ready; the first one tries it again." in caplog.text


def test_a_state_that_nobody_wants_any_more_is_not_copied(copier: StateCopier) -> None:
    go_on, calls = threading.Event(), []

    def hold() -> list[Tensor]:
        assert go_on.wait(PATIENCE_SECONDS)
        return [torch.ones(2)]

    held = copier.begin({"stepper": {}}, {"stepper": hold})
    superseded = copier.begin({"stepper": {}}, {"stepper": lambda: calls.append(1)})
    superseded.release()
    held.release()
    go_on.set()
    superseded.wait_until_taken()

    assert calls == []
    begin(copier, [torch.ones(2)]).result()


class FakeGpu:
    """Notes what is asked of a GPU's streams and events. It has no effect: it shows the order alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        gpu, names = self, iter(("ready", "copied"))

        class Stream:
            def __init__(self, name: object) -> None:
                self.name = str(name)

            def wait_event(self, event: "Event") -> None:
                gpu.log.append(f"{self.name} waits for {event.name}")

            def __enter__(self) -> None:
                gpu.log.append(f"copy on {self.name}")

            def __exit__(self, *_: object) -> None: ...

        class Event:
            def __init__(self) -> None:
                self.name = next(names)

            def record(self, stream: Stream | None = None) -> None:
                gpu.log.append(f"{self.name} on {stream.name if stream else 'the step'}")

            def synchronize(self) -> None:
                assert gpu.may_arrive.wait(PATIENCE_SECONDS)
                gpu.log.append(f"host waited for {self.name}")

        self.may_arrive = threading.Event()
        changes: dict[str, Callable[..., Any]] = {
            "Stream": lambda _device: Stream("the side"),
            "Event": Event,
            "stream": lambda stream: stream,
            "current_stream": lambda: Stream("the step"),
        }
        for name, change in changes.items():
            monkeypatch.setattr(torch.cuda, name, change)


def test_on_a_gpu_the_copy_waits_for_the_step_the_next_update_for_the_copy_and_the_host_for_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = FakeGpu(monkeypatch)
    copier = StateCopier(torch.device("cuda"))

    copy = begin(copier, [torch.ones(2)])
    copy.wait_until_taken()  # the copy has not arrived on the host

    assert gpu.log == [
        "ready on the step", "copy on the side", "the side waits for ready", "copied on the side",
        "the step waits for copied",
    ]  # fmt: skip
    gpu.may_arrive.set()
    assert torch.equal(copy.result()["stepper"][0], torch.ones(2))
    assert gpu.log[5:] == ["host waited for copied"]
    copier.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_a_gpu_does_after_the_copy_is_not_in_it() -> None:
    device = torch.device("cuda")
    copier, weights, mean = StateCopier(device), torch.ones(10**7, device=device), torch.ones(3, device=device)
    for step in range(2, 6):
        copy = copier.begin({"stepper": {}, "window": mean}, {"stepper": lambda: [weights]})
        mean.fill_(step)
        copy.wait_until_taken()
        weights.fill_(step)

        state = copy.result()
        assert torch.equal(state["stepper"][0], torch.full((10**7,), float(step - 1)))
        assert torch.equal(state["window"], torch.full((3,), float(step - 1)))
        assert state["stepper"][0].is_pinned()
        copy.release()
    copier.close()

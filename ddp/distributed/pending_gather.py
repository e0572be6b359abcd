"""Items of all ranks that are on their way to rank 0, in messages of one size, so that no rank asks for it first."""

import pickle
from typing import Any

import torch
from torch import Tensor

MAX_GATHERED_BYTES = 2**15
"""Size of an item pickled and with its length: the same for every rank, so that none asks."""
_LENGTH_BYTES = 8


class PendingGather:
    """Items of all ranks on their way to rank 0."""

    def __init__(self, items: list[Tensor], work: Any) -> None:
        self._items = items
        self._work = work

    def result(self) -> list[Any]:
        """Wait, and return the items by rank; on ranks other than 0 none. Any thread may call it.

        Raises `RuntimeError` if a rank is gone.
        """
        if self._work is not None:
            self._work.wait()
        return [_unpacked(item) for item in self._items]


def packed(item: Any) -> Tensor:
    """Return an item as bytes (MAX_GATHERED_BYTES,): length, content, zeros. Raises `ValueError` if it is too large."""
    content = pickle.dumps(item)
    if _LENGTH_BYTES + len(content) > MAX_GATHERED_BYTES:
        raise ValueError(f"An item of {len(content)} bytes is too large to be gathered.")
    text = len(content).to_bytes(_LENGTH_BYTES) + content
    return torch.frombuffer(bytearray(text.ljust(MAX_GATHERED_BYTES, b"\0")), dtype=torch.uint8)


def _unpacked(sent: Tensor) -> Any:
    text = sent.numpy().tobytes()
    return pickle.loads(text[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(text[:_LENGTH_BYTES])])

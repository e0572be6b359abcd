"""Files of weights in the format safetensors: a JSON header, then the bytes of each tensor; nothing in it is executed.

    8 bytes   length of the header, little endian
    header    {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": […], "data_offsets": [first, end]}, …}
    the rest  each tensor row by row, whatever its strides in memory are

Tensors and metadata are sorted by name, so that equal weights give equal bytes.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddp.checkpoint.format import UnusableError
from service.atomic_files import open_ordinary, write_atomically

SUFFIX = ".safetensors"
ALIGNMENT = LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # as the format says
METADATA = "__metadata__"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts atomically; replaces a file of this name. Raises `OSError`."""
    write_atomically(path, safetensors_bytes(tensors, metadata))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file. Raises `OSError` and `UnusableError`."""
    with open_ordinary(path) as file:
        return safetensors_in(file.readall())


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a file of tensors and texts."""
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))}
    parts = []
    position = 0
    for name, tensor in sorted(tensors.items()):
        content = _bytes_of(tensor)
        offsets = [position, position := position + len(content)]
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        parts.append(content)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return b"".join([len(text).to_bytes(LENGTH_BYTES, "little"), text, *parts])


def safetensors_in(file: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata in a file's content. Raises `UnusableError`."""
    length = int.from_bytes(file[:LENGTH_BYTES], "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(file) - LENGTH_BYTES):
        raise UnusableError("it is no safetensors file, or cut off")
    header = _header_of(file[LENGTH_BYTES : LENGTH_BYTES + length])
    content = bytearray(file[LENGTH_BYTES + length :])  # tensors may be written to
    try:
        metadata = dict(header.pop(METADATA, {}))
        return {name: _tensor_of(entry, content) for name, entry in header.items()}, metadata
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnusableError("its header does not match its content: it is damaged, or cut off") from error


def _header_of(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableError("it is no safetensors file") from error
    if not isinstance(header, dict):
        raise UnusableError("it is no safetensors file")
    return header


def _bytes_of(tensor: Tensor) -> bytes:
    """Return the values row by row: a view that is transposed or channels-last is copied into this order first."""
    plain = tensor.detach().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _tensor_of(entry: Mapping[str, Any], content: bytearray) -> Tensor:
    """Return one tensor, as a view of the content. Raises `ValueError`, `KeyError` or `TypeError` if it is wrong."""
    dtype, shape, (first, end) = DTYPES[entry["dtype"]], [int(side) for side in entry["shape"]], entry["data_offsets"]
    count = math.prod(shape)
    if not 0 <= first <= end <= len(content) or end - first != count * dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError("offsets beyond the content")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=torch.uint8, count=end - first, offset=first).view(dtype).view(shape)

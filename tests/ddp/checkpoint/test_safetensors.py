"""Files of weights in the format safetensors, against the format's own words."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddp.checkpoint.format import UnusableError
from ddp.checkpoint.safetensors import read_safetensors, write_safetensors


def some() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "plain": torch.randn(3, 4, generator=generator),
        "channels_last": torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        "transposed": torch.randn(5, 7, generator=generator).t(),
        "part": torch.randn(6, 6, generator=generator)[1:4, ::2],
        "number": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(4, generator=generator).to(torch.bfloat16),
    }


def test_every_tensor_comes_back_whatever_its_layout_in_memory(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", some(), {"made": "here"})
    tensors, metadata = read_safetensors(tmp_path / "a.safetensors")
    assert metadata == {"made": "here"}
    assert list(tensors) == sorted(some())
    for name, tensor in some().items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_the_file_is_what_the_format_says(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", some(), {})
    content = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert (8 + length) % 8 == 0
    first, end = header["channels_last"]["data_offsets"]
    expected = some()["channels_last"].contiguous().numpy().tobytes()
    assert data[first:end] == expected
    ends = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    assert [first for first, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert ends[-1][1] == len(data)


def test_the_library_of_the_format_reads_the_same(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    write_safetensors(tmp_path / "a.safetensors", some(), {"made": "here"})
    read = safetensors.load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in some().items())


def test_equal_weights_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", some(), {"a": "1", "b": "2"})
    reordered = {name: tensor.contiguous() for name, tensor in reversed(some().items())}
    write_safetensors(tmp_path / "b.safetensors", reordered, {"b": "2", "a": "1"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, some(), {})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnusableError):
        read_safetensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0]},
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 4]},
        {"shape": [1]},
        7,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entry: object) -> None:
    text = json.dumps({"a": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(UnusableError):
        read_safetensors(path)


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_has_no_header_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(UnusableError):
        read_safetensors(path)

"""One export: the network as the content of a file, checked against torch, then written."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ddp.checkpoint.safetensors import SUFFIX as SAFETENSORS
from ddp.checkpoint.safetensors import safetensors_bytes, safetensors_in
from ddp.inference.network import TrainedNetwork
from ddp.inference.onnx_network import OPSET, REACH_KEY, SETTINGS_KEY, OnnxNetwork, onnx_bytes
from ddp.inference.onnx_network import SUFFIX as ONNX
from ddp.inference.upscale.output.target import exists_sentence
from service.atomic_files import write_atomically
from service.errors import UserError, plain_reason

FORMATS = (SAFETENSORS, ONNX)
CHECKED_SIZES = ((1, 17, 31), (1, 40, 9), (3, 8, 8))
"""Batch, height and width of the inputs of the check: none is the size with which the file was made."""
TOLERANCE = 1e-4  # of pictures in 0…1


def export(network: TrainedNetwork, target: Path, *, replaces: bool) -> str:
    """Write a network as the suffix of `target` says; return a sentence about the check. Raises `UserError`."""
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{target} has not the suffix of a file that can be exported: take {' or '.join(FORMATS)}")
    if not target.absolute().parent.is_dir():
        raise UserError(f"{target.absolute().parent} is no folder: make it, or name another output")
    if target.is_dir() or (target.exists() and not replaces):
        raise UserError(exists_sentence(target))
    content, sentence = _safetensors(network) if suffix == SAFETENSORS else _onnx(network)
    try:
        write_atomically(target, content, replaces=replaces)
    except FileExistsError as error:
        raise UserError(exists_sentence(target)) from error
    except OSError as error:
        raise UserError(f"{target} could not be written ({plain_reason(error)}): make room, or mend that") from error
    return sentence


def _safetensors(network: TrainedNetwork) -> tuple[bytes, str]:
    """Return a file's content and a sentence about its check. Raises `UserError` if there are no weights."""
    weights = network.module.state_dict()
    if not weights:
        raise UserError(f"{network.origin} holds no weights that could be exported: name a run or a file of weights")
    content = safetensors_bytes(weights, {name: str(value) for name, value in network.settings.items()})
    read, _ = safetensors_in(content)
    assert all(torch.equal(read[name], tensor) for name, tensor in weights.items()), "a tensor is not what it was"
    return content, f"{len(weights)} tensors, read back and compared"


def _onnx(network: TrainedNetwork) -> tuple[bytes, str]:
    """Return a file's content and a sentence about its check. Raises `UserError` if the pictures differ."""
    reach = {} if network.reach is None else {REACH_KEY: str(network.reach)}
    settings = {SETTINGS_KEY: json.dumps(network.settings, sort_keys=True)}
    content = onnx_bytes(network.module, network.n_frames, {**settings, **reach})
    difference = largest_difference(network, OnnxNetwork(content))
    if not difference <= TOLERANCE:
        raise UserError(
            f"the network cannot be exported with these versions of its packages: ONNX Runtime's pictures differ from "
            f"torch's by up to {difference:.1e}, more than {TOLERANCE:.0e}"
        )
    return (
        content,
        f"opset {OPSET}, any batch and size; ONNX Runtime's pictures differ from torch's by {difference:.1e}",
    )


def largest_difference(network: TrainedNetwork, other: nn.Module) -> float:
    """Return the largest difference between the pictures of two networks, at all CHECKED_SIZES, in 0…1."""
    with torch.inference_mode():
        inputs = [_example(network.n_frames, size) for size in CHECKED_SIZES]
        return max(float((network.module(lr) - other(lr)).abs().max()) for lr in inputs)


def _example(n_frames: int, size: Sequence[int]) -> Tensor:
    batch, height, width = size
    return torch.rand(batch, n_frames, 3, height, width, generator=torch.Generator().manual_seed(height))

"""Networks as ONNX files: made from a network of torch, and run by ONNX Runtime as if they were one.

    input   lr       (batch, T, 3, h, w) float32 RGB in 0…1, any batch, h and w
    output  picture  (batch, 3, s·h, s·w) float32, about 0…1, not clamped

The packages are those of the extra `export`.
"""

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from service.atomic_files import open_ordinary
from service.errors import UserError, plain_reason

SUFFIX = ".onnx"
OPSET = 18
INPUT, OUTPUT = "lr", "picture"
EXAMPLE_BATCH, EXAMPLE_SIDES = 2, (20, 24)
DYNAMIC = {0: ("batch", 1), 3: ("height", 3), 4: ("width", 3)}
"""Axes of any size, and the smallest: half of 3, as a pyramid has it, is still more than 1."""
SETTINGS_KEY, REACH_KEY = "leitstand.settings", "leitstand.reach"


def onnx_package(name: str) -> Any:
    """Import a package of the extra `export`. Raises `UserError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"ONNX files need the package {name}, which cannot be imported ({plain_reason(error)}): install the extra "
            "`leitstand[export]`"
        ) from error


def onnx_bytes(module: nn.Module, n_frames: int, metadata: Mapping[str, str]) -> bytes:
    """Return a network as an ONNX file. Equal weights and metadata give equal bytes. Raises `UserError`."""
    onnx_package("onnxscript")  # which torch's exporter needs
    onnx = onnx_package("onnx")
    sizes = {axis: torch.export.Dim(name, min=smallest) for axis, (name, smallest) in DYNAMIC.items()}
    example = torch.zeros(EXAMPLE_BATCH, n_frames, 3, *EXAMPLE_SIDES)
    with _quiet():
        program = torch.onnx.export(
            _in_plain_order(module),
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes=(sizes,),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _in_plain_order(module: nn.Module) -> nn.Module:
    """Return a copy of a network whose tensors lie row by row in memory: the exporter's graph depends on that."""
    plain = copy.deepcopy(module)
    for tensor in (*plain.parameters(), *plain.buffers()):
        tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return plain


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says of itself and of packages that are not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)


def _strip(model: Any) -> None:
    """Remove what torch notes of the code's files and lines, which differ between machines."""
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]


class OnnxNetwork(nn.Module):
    """A network that ONNX Runtime runs, on the CPU."""

    def __init__(self, content: bytes) -> None:
        """Load a file's content. Raises `UserError` if it is none of a network of ours."""
        super().__init__()
        runtime = onnx_package("onnxruntime")
        try:
            self._session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:
            # Untrusted bytes: ONNX Runtime raises types of its own for each kind of damage.
            raise UserError(f"it is no ONNX file that can be run ({plain_reason(error)})") from error
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def forward(self, lr: Tensor) -> Tensor:
        """Map (B, T, 3, h, w) to (B, 3, s·h, s·w)."""
        (picture,) = self._session.run([OUTPUT], {INPUT: lr.cpu().numpy()})
        return torch.from_numpy(picture)

    def settings(self) -> dict[str, Any]:
        """Return the settings of the network, by lower-case names. Raises `UserError` if the file does not say them."""
        try:
            settings = json.loads(self.metadata[SETTINGS_KEY])
            return {**settings, "n_frames": int(settings["n_frames"]), "scale": int(settings["scale"])}
        except (KeyError, ValueError, TypeError) as error:
            raise UserError("it does not say for how many frames and which scale it is") from error

    def reach(self) -> int | None:
        """Return the reach as in `ddp.workload.Tileable`; None if the file does not say it."""
        text = self.metadata.get(REACH_KEY, "")
        return int(text) if text.isdecimal() else None


def open_onnx(path: Path) -> OnnxNetwork:
    """Open a file. Raises `UserError`."""
    try:
        with open_ordinary(path) as file:
            content = file.readall()
        network = OnnxNetwork(content)
        network.settings()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): put the path right") from error
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    return network

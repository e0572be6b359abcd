"""The weights with which a new run begins (INIT_FROM): read from a checkpoint, a run folder or a file, and matched.

Files are loaded with `weights_only`: nothing in them is executed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.format import MANIFEST_FILE, STATE_FILE, LoadedState, SavedState, UnusableError, load, step_in
from ddp.checkpoint.safetensors import SUFFIX, read_safetensors
from ddp.checkpoint.shipped.weights import place_of
from service.atomic_files import open_ordinary
from service.errors import RunDirectoryError, SettingError, plain_reason, printable
from service.run.directory import RunDirectory

WRAPPERS = ("state_dict", "model_state_dict", "model", "params_ema", "params", "net")
"""Keys under which trainers save the weights beside other values, in the order of preference."""
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DDP and torch.compile add to the names of weights."""
SHOWN_NAMES = 5


@dataclass(frozen=True)
class InitialWeights:
    """Weights that match the network, where they are from, and a sentence about what did not match.

    `parent_run` and `parent_step` are those of the run that saved them, None if that is not known.
    """

    source: str
    tensors: Mapping[str, Tensor]
    sentence: str
    parent_run: str | None = None
    parent_step: int | None = None


@dataclass(frozen=True)
class _Found:
    tensors: Mapping[str, Tensor]
    parent_run: str | None = None
    parent_step: int | None = None


def read_initial_weights(source: str, network: Mapping[str, Tensor]) -> InitialWeights:
    """Read the weights at a path, or the shipped ones, and match them with the state of the network by name and shape.

    Raises `SettingError` if they cannot be read, or if none matches.
    """
    path = place_of(source).expanduser()
    try:
        found = _read(path)
    except (UnusableError, RunDirectoryError) as error:
        raise SettingError(f"INIT_FROM {source} cannot be used: {str(error).rstrip('.')}.") from None
    except OSError as error:
        raise SettingError(f"INIT_FROM {source} cannot be read ({error.strerror}); put its path right.") from None
    common = found.tensors.keys() & network.keys()
    matching = {name: found.tensors[name] for name in common if found.tensors[name].shape == network[name].shape}
    sentence = f"INIT_FROM {source}: {_comparison(found.tensors, network, matching)}"
    if not matching:
        raise SettingError(f"{sentence}; give the settings of the network these weights are for, or another file.")
    return InitialWeights(source, matching, f"{sentence}.", found.parent_run, found.parent_step)


def _comparison(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor], matching: Mapping[str, Tensor]) -> str:
    shapes = {
        name: f"{name} {_shape(tensors[name])}, here {_shape(network[name])}"
        for name in tensors.keys() & network.keys() - matching.keys()
    }
    differences = {
        "missing": sorted(network.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - network.keys()),
        "of another shape": [shapes[name] for name in sorted(shapes)],
    }
    parts = [f"{len(matching)} of the network's {len(network)} tensors match"]
    return "; ".join([*parts, *(f"{what}: {_listed(names)}" for what, names in differences.items() if names)])


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - SHOWN_NAMES
    return printable(", ".join(names[:SHOWN_NAMES])) + (f" and {more} more" if more > 0 else "")


def _read(path: Path) -> _Found:
    """Read the weights at a path. Raises `OSError`, `UnusableError` or `RunDirectoryError`."""
    if path.is_file() and path.name == STATE_FILE and (path.parent / MANIFEST_FILE).exists():
        path = path.parent
    if not path.is_dir():
        return _Found(weights_in(load_file(path)))
    folder = path.resolve()
    if (folder / STATE_FILE).exists():
        step = step_in(folder.name)
        if step is None:
            raise UnusableError("a checkpoint's folder is named step_<step>")
        return _of_checkpoint(load(SavedState(step, folder)))
    newest = CheckpointFolder(RunDirectory(folder).checkpoints).newest_of_other_run()
    if newest is None:
        raise UnusableError("it holds no checkpoint; name a run folder, a checkpoint or a file of weights")
    return _of_checkpoint(newest)


def _of_checkpoint(loaded: LoadedState) -> _Found:
    """Return the weights of a checkpoint; its run is the one of the folder in which it lies, if it lies in one."""
    try:
        run_id = RunDirectory(loaded.saved.folder.parent.parent).run_id()
    except RunDirectoryError:
        run_id = None
    return _Found(weights_in(loaded.state), run_id, loaded.saved.step)


def load_file(path: Path) -> Any:
    """Load a file of tensors on the CPU. Raises `OSError` or `UnusableError`."""
    if path.suffix == SUFFIX:
        return read_safetensors(path)[0]
    with open_ordinary(path):  # an error of the file system is told as such
        if path.stat().st_size == 0:
            raise UnusableError("it is empty")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Untrusted bytes: torch raises many types, from EOFError to errors of its zip reader.
        raise UnusableError(f"it is no file of weights ({plain_reason(error)})") from error


def weights_in(content: Any) -> Mapping[str, Tensor]:
    """Return the tensors of a state by name: one of ours, a plain `state_dict`, or one that another trainer wrapped.

    Raises `UnusableError`.
    """
    if isinstance(content, Mapping) and isinstance(stepper := content.get("stepper"), Mapping):
        content = stepper.get("model")
    tensors = _tensors_of(content)
    if not tensors and isinstance(content, Mapping):
        wrapped = (_tensors_of(content.get(key)) for key in WRAPPERS)
        tensors = next((found for found in wrapped if found), {})
    if not tensors:
        raise UnusableError("it holds no tensors by name, as a state_dict does")
    return tensors


def _tensors_of(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {_plain(str(name)): value for name, value in content.items() if isinstance(value, Tensor)}


def _plain(name: str) -> str:
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name

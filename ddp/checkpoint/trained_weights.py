"""The weights of a trained network and the settings of the network they are for: of a run, a checkpoint or a file.

Never changes a run's folder: its trainer may be at work. Nothing in a file is executed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.format import MANIFEST_FILE, STATE_FILE, LoadedState, SavedState, UnusableError, load, step_in
from ddp.checkpoint.initial_weights import load_file, weights_in
from ddp.checkpoint.network_shape import NAMES, SIZES, complete
from ddp.checkpoint.safetensors import SUFFIX, read_safetensors
from ddp.checkpoint.shipped.weights import SHIPPED, WEIGHTS_FILE
from service.errors import RunDirectoryError, UserError
from service.run.directory import RunDirectory

AVERAGED = ", averaged weights"
"""What is said of averaged weights after the name of their checkpoint."""


@dataclass(frozen=True)
class TrainedWeights:
    """Weights by name, and the settings of their network as far as they are known, by lower-case names.

    `origin` says for people where they are from. Of a state with averaged weights, `variants` are both: the network's
    own as `ki`, the averaged ones as `ema`.
    """

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    origin: str
    variants: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def weights_of_run(folder: Path) -> TrainedWeights:
    """Return the weights of a run's best state; of the newest, if none was the best. Raises `UserError`."""
    checkpoints = RunDirectory(folder).checkpoints
    if not checkpoints.is_dir():
        raise UserError(f"{folder} holds no checkpoints: name a run directory (DATA_ROOT) with --run, or --from FILE")
    try:
        found = CheckpointFolder(checkpoints).best_of_other_run()
    except OSError as error:
        raise UserError(f"{checkpoints} cannot be read ({error.strerror}): mend its permissions") from error
    if found is None:
        raise UserError(f"{checkpoints} holds no checkpoint yet: wait for the run's first one, or name another run")
    return _of_state(found)


def weights_at(path: Path) -> TrainedWeights:
    """Return the weights of a checkpoint's folder, a run directory, a file, or the shipped ones. Raises `UserError`."""
    try:
        return _at(path) if str(path) != SHIPPED else replace(_at(WEIGHTS_FILE), origin=SHIPPED)
    except (UnusableError, RunDirectoryError) as error:
        raise UserError(f"the weights {path} cannot be used: {str(error).rstrip('.')}") from error
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read ({error.strerror}): put the path right") from error


def _at(path: Path) -> TrainedWeights:
    if path.is_file() and path.name == STATE_FILE and (path.parent / MANIFEST_FILE).exists():
        path = path.parent
    if path.is_dir():
        folder = path.resolve()
        if not (folder / STATE_FILE).exists():
            return weights_of_run(path)
        step = step_in(folder.name)
        if step is None:
            raise UnusableError("a checkpoint's folder is named step_<step>")
        return _of_state(load(SavedState(step, folder)))
    if path.suffix == SUFFIX:
        tensors, metadata = read_safetensors(path)
        return TrainedWeights(tensors, _settings_in(metadata), str(path))
    return TrainedWeights(weights_in(load_file(path)), {}, str(path))


def _settings_in(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that an exported file names. Raises `UnusableError`."""
    try:
        sizes = {name: int(metadata[name]) for name in SIZES if name in metadata}
    except ValueError as error:
        raise UnusableError("what it says of its network are no numbers") from error
    named = {name: metadata[name] for name in ("workload", *NAMES) if name in metadata}
    return complete({**sizes, **named}) if sizes else named


def _of_state(loaded: LoadedState) -> TrainedWeights:
    """Return the averaged weights of a state if its last validation found them better, else the network's."""
    state, name = loaded.state, loaded.saved.folder.name
    shape = complete(state.get("shape", {}))
    settings = {key: value for key, value in shape.items() if key in ("workload", *SIZES, *NAMES)}
    averaged = state.get("stepper", {}).get("average")
    if averaged is None:
        return TrainedWeights(weights_in(state), settings, name)
    variants = {"ki": weights_in(state), "ema": averaged}
    if _is_average_better(state.get("composer", {}).get("validation", {})):
        return TrainedWeights(averaged, settings, f"{name}{AVERAGED}", variants)
    return TrainedWeights(weights_in(state), settings, name, variants)


def _is_average_better(validation: Mapping[str, Any]) -> bool:
    raw, averaged = validation.get("quality_ki_value"), validation.get("quality_ema_value")
    numbers = [value for value in (raw, averaged) if isinstance(value, float) and math.isfinite(value)]
    return len(numbers) == 2 and numbers[1] > numbers[0]

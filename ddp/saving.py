"""What a checkpoint holds, gathered from all ranks and given back to them."""

import logging
import random
from typing import Any

import torch

from ddp.checkpoint import CheckpointFolder, SavedState, load_state
from ddp.progress import Progress
from ddp.stepper import Stepper
from ddp.world import World
from service.errors import RunDirectoryError, UserError

logger = logging.getLogger(__name__)


class Saver:
    """Saves and restores the whole state of a training. Both are called by all ranks."""

    def __init__(self, world: World, folder: CheckpointFolder, stepper: Stepper, shape: dict[str, Any]) -> None:
        """`shape` names the settings that a state must have in common with the run that loads it."""
        self._world = world
        self._folder = folder
        self._stepper = stepper
        self._shape = shape

    def save(self, progress: Progress, *, is_best: bool) -> str | None:
        """Save now; returns why it failed, the same text on every rank, or None."""
        generators = self._world.gather(_generator_state(self._world.device))
        problem = self._write(progress, generators, is_best) if self._world.is_main else None
        return self._world.from_main(problem)

    def _write(self, progress: Progress, generators: list[dict[str, Any]], is_best: bool) -> str | None:
        state = {
            "shape": self._shape,
            "progress": progress.state(),
            "world_size": self._world.size,
            "generators": generators,
            "model": self._stepper.model.state_dict(),
            "optimizer": self._stepper.optimizer.state_dict(),
        }
        try:
            saved = self._folder.save(progress.step, state, is_best=is_best)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            logger.warning("The checkpoint of step %d could not be written: %s", progress.step, error)
            return f"the checkpoint of step {progress.step} could not be written: {error}"
        logger.info("Checkpoint saved: %s", saved.folder.name)
        return None

    def restore(self) -> Progress | None:
        """Load the newest verified state into model and optimizer; None when there is none.

        Raises `RunDirectoryError` when the state belongs to another architecture.
        """
        saved: SavedState | None = None
        problem: UserError | None = None
        if self._world.is_main:
            try:
                saved = self._folder.newest_verified()
            except UserError as error:
                problem = error
        self._world.raise_together(problem)
        saved = self._world.from_main(saved)
        return None if saved is None else self._load(saved)

    def _load(self, saved: SavedState) -> Progress:
        state = load_state(saved)
        different = [
            f"{key} {state['shape'].get(key)} → {value}"
            for key, value in self._shape.items()
            if state["shape"].get(key) != value
        ]
        if different:
            raise RunDirectoryError(
                f"Checkpoint {saved.folder.name} belongs to another network ({', '.join(different)}); "
                "give the settings it was trained with, or start with --fresh."
            )
        self._stepper.model.load_state_dict(state["model"])
        self._stepper.optimizer.load_state_dict(state["optimizer"])
        if len(state["generators"]) == self._world.size:
            _restore_generators(self._world.device, state["generators"][self._world.rank])
        return Progress.from_state(state["progress"])


def _generator_state(device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore_generators(device: torch.device, state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)

"""Saves and restores the state of all components: copied during the next step, written in the background.

boundary   every rank: its random generators are on their way; rank 0: copies of what is small, then training continues
copier     rank 0's thread: copies of weights, moments and EMA weights, which the next update waits for
writer     rank 0's thread: wait for both, write, fsync, verify, manifest, rename, prune
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ddp.checkpoint.async_writer import CheckpointWriter, PendingCheckpoint
from ddp.checkpoint.folder import CheckpointFolder, LoadedState, Reason, SavedState, load_state
from ddp.checkpoint.network_shape import differences
from ddp.checkpoint.state_copier import StateCopier, StateCopy
from ddp.checkpoint.survivor_states import SurvivorStates
from ddp.distributed.pending_gather import PendingGather
from ddp.distributed.rng import restore_rng, rng_state
from ddp.distributed.world import World
from ddp.step.copy_fence import CopyFence
from service.errors import RunDirectoryError, UserError
from service.run.trainer_stats import TrainerStats

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """Interface of a component whose state is saved in checkpoints: tensors and plain values."""

    def state(self) -> dict[str, Any]:
        """Return the current state; tensors may be on the device, and the caller copies them."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state in place."""


class Fenced(Stateful, Protocol):
    """Interface of a component whose state is large: copied by another thread, while its fence is closed."""

    @property
    def fence(self) -> CopyFence:
        """The fence that it waits for before it changes what it saves."""

    def collect_later(self) -> Callable[[], dict[str, Any]]:
        """Return a function that returns the present state, on any thread and until the fence is waited for."""


class Checkpointer:
    """Saves and restores the complete state of a training. All ranks call every method at the same step."""

    def __init__(
        self,
        world: World,
        folder: CheckpointFolder,
        keep: Callable[[], int],
        shape: dict[str, Any],
        components: Mapping[str, Stateful],
        fenced: Mapping[str, Fenced] | None = None,
    ) -> None:
        """`shape` holds the settings that must be equal in a checkpoint and in the run that loads it.

        Those of the components that are `fenced`, too, are copied while their fence is closed, all others at once.
        """
        self._world = world
        self._folder = folder
        self._writer = CheckpointWriter(folder, keep) if world.is_main else None
        self._copier = StateCopier(world.device) if world.is_main else None
        self._shape = shape
        self._components = components
        self._fenced = fenced or {}

    def prepare(self) -> None:
        """Take the memory for copies of a state like the present one, in the background; after the first step."""
        if self._copier is not None:
            self._copier.prepare({name: component.collect_later() for name, component in self._fenced.items()})

    def save(
        self,
        step: int,
        reason: Reason,
        *,
        is_best: bool,
        extra: dict[str, Any],
        on_written: Callable[[int, str | None], None],
    ) -> None:
        """Copy the state as it is now, and write it, in the background; rank 0's writer thread calls `on_written`.

        One collective, which is not waited for. The fences are closed until the copy is taken.
        """
        generators = self._world.begin_gather(rng_state(self._world.device))
        if self._writer is None or self._copier is None:
            return
        later = {name: component.collect_later() for name, component in self._fenced.items()}
        now = {name: {} if name in later else component.state() for name, component in self._components.items()}
        copy = self._copier.begin(self._whole(now, [], extra), later)
        for component in self._fenced.values():
            component.fence.close_for(copy)
        build = partial(_joined, copy, generators)
        self._writer.submit(PendingCheckpoint(step, build, reason, is_best, on_written, copy.release))

    def state(self, generators: list[dict[str, Any]], extra: dict[str, Any]) -> dict[str, Any]:
        """Return the state as it is now, not copied; the same on every rank, but for `extra`. No collective."""
        return self._whole({name: item.state() for name, item in self._components.items()}, generators, extra)

    def _whole(
        self, components: Mapping[str, Any], generators: list[dict[str, Any]], extra: dict[str, Any]
    ) -> dict[str, Any]:
        common = {"shape": self._shape, "world_size": self._world.size, "generators": generators, "extra": extra}
        return {**components, **common}

    def archive_after(self, step: int, target: Path) -> None:
        """Move the checkpoints of steps after `step` into the folder `target`; log a failure."""
        if not self._world.is_main:
            return
        try:
            self._folder.archive_after(step, target)
        except OSError as error:
            logger.warning("Checkpoints beyond step %d could not be moved to %s: %s", step, target, error)

    def relocate(self, root: Path) -> None:
        """Write checkpoints to another folder from now on, and look for them there; rank 0's threads may call it."""
        self._folder.relocate(root)

    def drain(self) -> str | None:
        """Wait until everything is written; return the last error message, the same on every rank, or None."""
        return self._world.from_main(self._writer.drain() if self._writer else None)

    def holds(self, step: int) -> bool:
        """Return True on every rank if a usable state of this step is on disk. One collective."""
        return self._world.from_main(self._folder.holds(step) if self._world.is_main else False)

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints in the folder, newest first; looks on this rank alone."""
        return self._folder.steps()

    def oldest_step(self) -> int:
        """Return the step of the oldest state on disk, 0 if there is none."""
        return min(self._folder.steps(), default=0)

    def newest_sentence(self) -> str:
        """Return on every rank which checkpoint is the newest, or that there is none. One collective."""
        return self._world.from_main(self._folder.newest_sentence() if self._world.is_main else "")

    def stats(self) -> TrainerStats:
        """Return statistics of the checkpoints that rank 0 wrote; empty on other ranks. Thread-safe."""
        return self._writer.stats() if self._writer else {}

    def close(self) -> None:
        """Write everything queued, and end the threads."""
        if self._writer is not None:
            self._writer.close()
        if self._copier is not None:
            self._copier.close()

    def newest(self, at_most: int | None = None) -> LoadedState | None:
        """Load the newest usable state up to the step `at_most`; None if there is none. Restores nothing.

        Raises `RunDirectoryError` on all ranks if it belongs to another network, or if none of several is usable.
        """
        return self._load_on_all_ranks(lambda: self._folder.newest_usable(at_most))

    def left_by_survivor(self, states: SurvivorStates) -> LoadedState | None:
        """Load the newest usable state that a rank has left, unless a checkpoint is newer; None if there is none.

        Restores nothing. Raises `RunDirectoryError` on all ranks if it belongs to another network.
        """

        def find() -> LoadedState | None:
            return states.newest(self._world.size, at_least=next(iter(self._folder.steps()), 0))

        return self._load_on_all_ranks(find)

    def named(self, wanted: str) -> LoadedState:
        """Load the checkpoint named `wanted`. Restores nothing. Raises `RunDirectoryError` on all ranks."""
        found = self._load_on_all_ranks(lambda: self._folder.find(wanted))
        assert found is not None
        return found

    def _load_on_all_ranks(self, find: Callable[[], LoadedState | None]) -> LoadedState | None:
        loaded: LoadedState | None = None
        problem: UserError | None = None
        if self._world.is_main:
            try:
                loaded = find()
                self._check_shape(loaded)
            except UserError as error:
                problem = error
        self._world.raise_together(problem)
        saved: SavedState | None = self._world.from_main(loaded.saved if loaded else None)
        return None if saved is None else self._load_on_others(saved, loaded)

    def _load_on_others(self, saved: SavedState, loaded: LoadedState | None) -> LoadedState:
        """Load the state that rank 0 found on the other ranks; all ranks raise the `UserError` of any rank."""
        problem: UserError | None = None
        try:
            loaded = loaded or LoadedState(saved, load_state(saved))
        except UserError as error:
            problem = error
        self._world.raise_together(problem)
        assert loaded is not None
        return loaded

    def _check_shape(self, loaded: LoadedState | None) -> None:
        if loaded is None:
            return
        different = differences(loaded.state.get("shape", {}), self._shape)
        if different:
            raise RunDirectoryError(
                f"Checkpoint {loaded.saved.folder.name} belongs to another network ({', '.join(different)}); "
                "give the settings it was trained with, or start with --fresh."
            )

    def restore(self, found: LoadedState) -> dict[str, Any]:
        """Restore all components in place; return the state's `extra`. Raises `RunDirectoryError` on a mismatch."""
        state = found.state
        try:
            for name, component in self._components.items():
                component.restore(state.get(name, {}))  # earlier versions saved fewer components
            if len(state["generators"]) == self._world.size:
                restore_rng(self._world.device, state["generators"][self._world.rank])
            extra: dict[str, Any] = state["extra"]
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise RunDirectoryError(
                f"Checkpoint {found.saved.folder.name} does not fit this network ({error}); "
                "give the settings it was trained with, or start with --fresh."
            ) from error
        return extra


def _joined(copy: StateCopy, generators: PendingGather) -> dict[str, Any]:
    """Wait for a copied state and the generators of all ranks; return them as one. Raises what the copy failed with."""
    state = copy.result()
    try:
        state["generators"] = generators.result()
    except RuntimeError as error:  # the state is whole without them, as the one that a rank leaves
        logger.warning("A checkpoint holds no random generators, which every step seeds anew: %s", error)
    return state

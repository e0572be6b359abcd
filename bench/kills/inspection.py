"""What a run directory must be like at any moment, also right after a `kill -9`, and whether two runs are the same."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import torch
from torch import Tensor

from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.format import SavedState, checkpoint_name, load, step_in, verify
from service.launcher.ranks.shared_states import SHARED_MEMORY
from service.run.directory import RunDirectory
from service.run.record import list_records, record_name
from service.run.record_schema import record_schema
from service.run.state import RunState
from service.store.store import Store, StoreUnavailableError

OF_ONE_START = frozenset(
    {
        "run_id", "last_update_time", "iteration_duration", "samples_per_second", "eta_total_formatted",
        "eta_epoch_formatted", "per_rank", "slow_rank", "data_wait_ratio", "validation_duration", "vram_usage_gb",
        "provenance",
    }
)  # fmt: skip
"""Keys of a record that depend on the clock or the machine."""


class RunInspector:
    """Looks at one run directory from outside, without changing anything."""

    def __init__(self, root: Path, val_step_every: int) -> None:
        self.root = root
        self._val_step_every = val_step_every
        self._validator = jsonschema.Draft202012Validator(record_schema())

    def complaints(self) -> list[str]:
        """What is torn or lost now, while no trainer runs; an empty list when all is well."""
        return [*self._bad_records(), *self._lost_records(), *self._bad_links()]

    def store_complaints(self, store: Store | None = None) -> list[str]:
        """What is wrong with the store of a run that has ended: another run's, or not the records that are on disk.

        The store is that of the directory if none is given; it is closed.
        """
        run_id, records = RunDirectory(self.root).run_id(), self.records()
        store = store or Store(self.root / "leitstand.db")
        try:
            run = store.runs.latest()
            stored = {row.step for row in store.records.find(run_id, limit=1_000_000)} if run_id else set()
        except StoreUnavailableError as error:
            return [f"the store cannot be read: {error}"]
        finally:
            store.close()
        found = [f"the store has no record of step {step}" for step in sorted(records.keys() - stored)]
        if run is None or run.id != run_id or run.state is not RunState.FINISHED:
            found.append(f"the store shows {run and (run.id, run.state.value)}, the run is {run_id}")
        found += [f"record {step} is of another run" for step, record in records.items() if record["run_id"] != run_id]
        return found

    def newest_step(self) -> int:
        """The step of the newest saved state that its manifest vouches for, 0 when there is none."""
        folder = self.root / "checkpoints"
        usable = (step for step in CheckpointFolder(folder).steps() if verify(folder / checkpoint_name(step)) is None)
        return next(usable, 0)

    def newest_left(self) -> int:
        """The step of the newest state that a rank has left for the next start, 0 when there is none."""
        folders = SHARED_MEMORY.glob(f"leitstand-{RunDirectory(self.root).run_id()}-*/*/step_*")
        return max((step for folder in folders if (step := step_in(folder.name)) and verify(folder) is None), default=0)

    def state(self, step: int) -> dict[str, Any]:
        """The saved state of this step."""
        return load(SavedState(step, self.root / "checkpoints" / checkpoint_name(step))).state

    def records(self) -> dict[int, dict[str, Any]]:
        """The records by step."""
        return {step: _strict(path.read_text(encoding="utf-8")) for step, path in list_records(self.root)}

    def all_records(self) -> list[dict[str, Any]]:
        """The records, archived ones too."""
        return [_strict(path.read_text(encoding="utf-8")) for path in self.root.glob("**/Statistik_*.json")]

    def _bad_records(self) -> Iterator[str]:
        """Records, also archived ones, that are not whole, not strict JSON, or not what the schema says."""
        for path in self.root.glob("**/Statistik_*.json"):
            try:
                record = _strict(path.read_text(encoding="utf-8"))
                self._validator.validate(record)
                if path.name != record_name(record["step_current"]):
                    yield f"{path.name} says step {record['step_current']}"
            except (OSError, ValueError, jsonschema.ValidationError) as error:
                yield f"{path.relative_to(self.root)}: {str(error).splitlines()[0]}"

    def _lost_records(self) -> Iterator[str]:
        """Scheduled steps up to the newest saved state with a record neither on disk nor inside that state."""
        newest = self.newest_step()
        if newest == 0:
            return
        held = {record["step_current"] for record in self.state(newest)["extra"]["records"]}
        there = {step for step, _ in list_records(self.root)} | held
        # The validation of the state's own step may be owed: the next start begins with it.
        for step in range(self._val_step_every, newest, self._val_step_every):
            if step not in there:
                yield f"{record_name(step)} is lost: it is neither on disk nor in {checkpoint_name(newest)}"

    def _bad_links(self) -> Iterator[str]:
        for name in ("latest", "best"):
            link = self.root / "checkpoints" / name
            if link.is_symlink() and not link.exists():
                yield f"checkpoints/{name} dangles"


def _strict(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    return record


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two nested values differ, tensors to the last bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield path
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, theirs, f"{path}/{index}")
    elif one != other and not (is_nan(one) and is_nan(other)):
        yield f"{path}: {one} and {other}"


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def record_differences(
    one: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]], ignored: frozenset[str] = OF_ONE_START
) -> Iterator[str]:
    """Where two runs' records differ in what does not depend on the clock."""
    for step in sorted(one.keys() | other.keys()):
        mine, theirs = (
            {key: value for key, value in records.get(step, {}).items() if key not in ignored}
            for records in (one, other)
        )
        yield from differences(mine, theirs, record_name(step))

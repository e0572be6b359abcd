"""Whether two trainings are the same: their last states to the last bit, and their records but for times."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddp.checkpoint.folder import CheckpointFolder
from service.run.record import list_records

TIMES = {
    "iteration_duration", "eta_total_formatted", "eta_epoch_formatted", "last_update_time", "samples_per_second",
    "data_wait_ratio", "validation_duration", "per_rank", "slow_rank", "vram_usage_gb", "run_id",
    "provenance",
}  # fmt: skip


def last_state(root: Path, step: int) -> dict[str, Any]:
    found = CheckpointFolder(root / "checkpoints").newest_usable()
    assert found is not None
    assert found.saved.step == step
    return found.state


def check_same(
    root: Path,
    straight: Path,
    expected: dict[str, Any],
    but: frozenset[str] = frozenset(),
    *,
    steps: tuple[int, ...],
) -> None:
    found = last_state(root, steps[-1])
    for state in (found, expected):
        state["composer"]["validation"].pop("validation_duration", None)
        state["extra"].pop("records", None)  # those that were on their way to the disk just then
    assert [text for text in differences(found, expected) if not any(name in text for name in but)] == []
    scheduled = [step for step, _ in list_records(straight)]
    assert scheduled == [*steps]
    for step in scheduled:
        assert lasting(root, step, but) == lasting(straight, step, but)


def lasting(root: Path, step: int, but: frozenset[str]) -> dict[str, Any]:
    """A record without its times."""
    record = json.loads((root / f"Statistik_{step}.json").read_text())
    return {key: value for key, value in record.items() if key not in TIMES | but}


def differences(found: Any, expected: Any, path: str = "state") -> list[str]:
    """Where two states differ, to the last bit; NaN equals NaN."""
    if isinstance(expected, Tensor):
        same = (
            torch.equal(found.nan_to_num(nan=-1e30), expected.nan_to_num(nan=-1e30))
            if expected.is_floating_point()
            else torch.equal(found, expected)
        )
        return [] if same else [f"{path}: {found} is not {expected}"]
    if isinstance(expected, Mapping):
        if found.keys() != expected.keys():
            return [f"{path}: keys {sorted(map(str, found.keys() ^ expected.keys()))}"]
        return [text for key in expected for text in differences(found[key], expected[key], f"{path}.{key}")]
    if isinstance(expected, list | tuple):
        if len(found) != len(expected):
            return [f"{path}: {len(found)} items, not {len(expected)}"]
        return [
            text for place, item in enumerate(expected) for text in differences(found[place], item, f"{path}[{place}]")
        ]
    if isinstance(expected, float) and math.isnan(expected):
        return [] if math.isnan(found) else [f"{path}: {found} is not NaN"]
    return [] if found == expected else [f"{path}: {found!r} is not {expected!r}"]

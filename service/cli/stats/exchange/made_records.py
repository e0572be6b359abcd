"""Records made of the scalars of another tracker: what these hold, and null for all else."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from service.cli.stats.exchange.event_scalars import EventScalars, newest_steps
from service.loss_terms import TOTAL_LOSS_KEY
from service.run.record import KEYS, SCHEMA_VERSION, Record
from service.run.record_schema import FIELDS
from service.run.records.tables.tags import RANK_TAGS, TRAINING_TAGS, VALIDATION_TAGS

STRONGEST = VALIDATION_TAGS["layer_activity_peak_value"]
ACTIVITY, RANK = "activity/", "rank/"
_INTEGERS = frozenset(field.name for field in FIELDS if field.kind == "integer")
_RANK_KEYS = {tag: key for key, tag in RANK_TAGS.items()}
QUALITY, BEST = "quality_ki_value", "best_quality_ever"

Column = dict[int, Any]
"""Values by step."""


def made_records(scalars: EventScalars, run_id: str, tags: Mapping[str, str]) -> Iterator[Record]:
    """Yield a record for each step with a value of a validation, or if there is none, with a total loss.

    `tags` are the tags of keys that have other ones than ours. Values of log points are those of the newest one up to
    the record's step.
    """
    tag_of = {**TRAINING_TAGS, **VALIDATION_TAGS, **tags}
    validated = [key for key in (*VALIDATION_TAGS, *tags) if key not in TRAINING_TAGS]
    steps = _steps(scalars, [tag_of[key] for key in validated]) or _steps(scalars, [tag_of[TOTAL_LOSS_KEY]])
    columns: dict[str, Column] = {}
    for key, tag in tag_of.items():
        values = scalars.values.get(tag, {})
        columns[key] = values if key in validated else dict(newest_steps(values, steps))
    best = columns.get(BEST) or _running_best(columns.get(QUALITY, {}))
    columns[BEST] = dict(newest_steps(best, steps))
    for step in steps:
        known = {key: _typed(key, column[step]) for key, column in columns.items() if column.get(step) is not None}
        yield dict.fromkeys(KEYS) | known | _nested(scalars, step) | _own(scalars, step, run_id)


def _steps(scalars: EventScalars, tags: list[str]) -> list[int]:
    return sorted({step for tag in tags for step in scalars.values.get(tag, ())})


def _running_best(qualities: Mapping[int, float]) -> dict[int, float]:
    known = sorted(qualities.items())
    return dict(zip((step for step, _ in known), accumulate((value for _, value in known), max), strict=True))


def _typed(key: str, value: float) -> float | int:
    return round(value) if key in _INTEGERS else value


def _nested(scalars: EventScalars, step: int) -> Record:
    """Return activity of layers and values of ranks at a step, as far as there are some."""
    means: dict[str, float] = {}
    ranks: dict[int, dict[str, Any]] = {}
    for tag, by_step in scalars.values.items():
        if step not in by_step:
            continue
        if tag.startswith(ACTIVITY) and tag != STRONGEST:
            means[tag.removeprefix(ACTIVITY)] = by_step[step]
        elif tag.startswith(RANK):
            number, _, name = tag.removeprefix(RANK).partition("/")
            if number.isdecimal() and name in _RANK_KEYS:
                ranks.setdefault(int(number), {"rank": int(number)})[_RANK_KEYS[name]] = by_step[step]
    found: Record = {"per_rank": [ranks[number] for number in sorted(ranks)], "world_size": len(ranks) or None}
    if means and (highest := max(means.values())) > 0:
        found["layer_activity_raw_map"] = means
        found["layer_activity_map"] = {layer: 100 * mean / highest for layer, mean in means.items()}
    return found


def _own(scalars: EventScalars, step: int, run_id: str) -> Record:
    return {
        "step_current": step, "run_id": run_id, "schema_version": SCHEMA_VERSION, "trigger": "schedule",
        "last_update_time": scalars.times.get(step), "training_active": True, "validation_running": False,
        "training_paused": False, "validation_images": [],
    }  # fmt: skip

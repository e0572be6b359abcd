"""What the neighbouring frames gave: runs with several frames against their control, which sees one frame.

The control is a run with NETWORK=single on the same data. With an equal MAX_STEPS both are compared at the last step
that both have a record of; else at their ends, if they used equal processor time: in the middle of a schedule, the
learning rate would decide. Runs that differ only in SEED count together. Never compares what does not compare.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from service.run.records.curves.columns import RunColumns, plain_values, training_seconds

CONTROL = "single"
MEASURES = {"psnr_y_ki_db": "dB PSNR-Y", "psnr_ki_db": "dB PSNR", "ssim_ki": "SSIM", "quality_ki_value": "quality"}
"""Keys of a record that are compared, and how they are called in the sentence."""
DECIMALS = {"psnr_y_ki_db": 2, "psnr_ki_db": 2, "ssim_ki": 4, "quality_ki_value": 4}
SAME_DATA = {
    "training_data": "they were trained on other data",
    "validation_data": "they were validated on other images",
}
EQUAL_TIME = 0.05
"""Share by which processor times may differ and still count as equal."""
SAME_SETTINGS = ("SCALE", "DEGRADATION", "VAL_BORDER", "WORKLOAD")
OTHER_BY_NATURE = frozenset(
    {"DATA_ROOT", "NETWORK", "SEED", "N_FRAMES", "FUSION_LR_FACTOR", "CHANNELS_LAST", "DATASET_ROOT", "STORE_URL",
     "API_HOST", "API_PORT", "RUN_ROOTS", "MAX_STEPS"}
)  # fmt: skip
"""Settings in which a run and its control may differ without a remark."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Gain:
    """What a group of runs has over its controls at one place: means by measure, and their standard deviations.

    `at` is a step, or processor seconds; `cost` how many times the control's processor time it took, NaN if unknown. A
    deviation is None where one of the two sides is one run.
    """

    axis: str
    at: float
    cost: float
    gains: Mapping[str, float]
    values: Mapping[str, tuple[float, float]]
    deviations: Mapping[str, float | None]


@dataclass(frozen=True)
class FramesGain:
    """A group of runs that differ in SEED alone, its controls, and what the frames gave; or why that cannot be said."""

    network: str
    runs: Sequence[RunColumns]
    controls: Sequence[RunColumns]
    gain: Gain | None = None
    obstacle: str = ""
    other_settings: Sequence[str] = ()

    def sentences(self) -> list[str]:
        """Return it for people."""
        who = f"{_names(self.runs)} ({self.network}) against the single-frame control {_names(self.controls)}"
        if self.gain is None:
            return [f"What the frames gave cannot be said of {who}: {self.obstacle}."]
        found = [f"What the frames gave, {_place(self.gain)}: {_values(self.gain)}; {who}."]
        if self.other_settings:
            found.append(f"Beside the frames, these settings differ: {', '.join(self.other_settings)}.")
        if len(self.runs) == 1 or len(self.controls) == 1:
            found.append("One seed says nothing about chance: train both with three or more (SEED).")
        return found

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "network": self.network,
            "runs": [run.label for run in self.runs],
            "controls": [run.label for run in self.controls],
            "obstacle": self.obstacle or None,
            "other_settings": list(self.other_settings),
            "gain": None if self.gain is None else _gain_as_json(self.gain),
        }


def _gain_as_json(gain: Gain) -> dict[str, Any]:
    cost = None if math.isnan(gain.cost) else gain.cost
    return {
        "axis": gain.axis, "at": gain.at, "cost": cost, "gains": dict(gain.gains), "deviations": dict(gain.deviations),
    }  # fmt: skip


def frames_gains(runs: Sequence[RunColumns], settings: Mapping[str, Settings]) -> list[FramesGain]:
    """Return what the frames gave each group of runs; nothing where no run, or every run, is a single-frame control."""
    known = [run for run in runs if settings.get(run.label, {}).get("NETWORK")]
    groups: dict[str, list[RunColumns]] = {}
    for run in known:
        own = {name: value for name, value in settings[run.label].items() if name not in ("SEED", "DATA_ROOT")}
        groups.setdefault(repr(sorted(own.items(), key=lambda item: item[0])), []).append(run)
    controls = [group for group in groups.values() if settings[group[0].label]["NETWORK"] == CONTROL]
    others = [group for group in groups.values() if settings[group[0].label]["NETWORK"] != CONTROL]
    return [_gain(group, control, settings) for group in others for control in controls]


def _gain(group: Sequence[RunColumns], control: Sequence[RunColumns], settings: Mapping[str, Settings]) -> FramesGain:
    own, other = settings[group[0].label], settings[control[0].label]
    network = str(own["NETWORK"])
    obstacle = _obstacle([*group, *control], own, other)
    if obstacle:
        return FramesGain(network, group, control, obstacle=obstacle)
    is_equally_long = own.get("MAX_STEPS") == other.get("MAX_STEPS")
    found = _at_equal_step(group, control) if is_equally_long else _at_equal_time(group, control)
    if found is None:
        reason = _no_common_step(group, control) if is_equally_long else _other_lengths(group, control, own, other)
        return FramesGain(network, group, control, obstacle=reason)
    names = sorted(own.keys() & other.keys() - OTHER_BY_NATURE)
    differing = [f"{name} {own[name]} and {other[name]}" for name in names if own[name] != other[name]]
    return FramesGain(network, group, control, found, other_settings=differing)


def _obstacle(runs: Sequence[RunColumns], own: Settings, other: Settings) -> str:
    """Return why runs do not compare; empty if they do."""
    for name in SAME_SETTINGS:
        if own.get(name) != other.get(name):
            return f"{name} is {own.get(name)} and {other.get(name)}"
    for key, reason in SAME_DATA.items():
        if len({plain_values(run).get(key) for run in runs}) > 1:
            return reason
    return ""


def _at_equal_step(group: Sequence[RunColumns], control: Sequence[RunColumns]) -> Gain | None:
    """Compare at the last step that all runs have a record of."""
    common = set.intersection(*(set(run.steps) for run in (*group, *control)))
    if not common:
        return None
    step = max(common)
    places = [[list(run.steps).index(step) for run in side] for side in (group, control)]
    return _compared("step", step, group, control, *places)


def _at_equal_time(group: Sequence[RunColumns], control: Sequence[RunColumns]) -> Gain | None:
    """Compare the last records of runs that used the same processor time up to them."""
    ends = [_processor_seconds(run, -1) for run in (*group, *control)]
    if not max(ends) - min(ends) <= EQUAL_TIME * max(ends):  # also if one is not known
        return None
    places = [[len(run.steps) - 1 for run in side] for side in (group, control)]
    return _compared("processor_seconds", mean(ends), group, control, *places)


def _no_common_step(group: Sequence[RunColumns], control: Sequence[RunColumns]) -> str:
    ends = f"{_names(group)} has {_steps(group[0])}, {_names(control)} {_steps(control[0])}"
    return f"no step has a record of all of them with the same measures ({ends})"


def _other_lengths(group: Sequence[RunColumns], control: Sequence[RunColumns], own: Settings, other: Settings) -> str:
    times = [mean(_processor_seconds(run, -1) for run in side) for side in (group, control)]
    used = "not known" if any(map(math.isnan, times)) else f"{times[0]:.0f} s and {times[1]:.0f} s"
    return (
        f"MAX_STEPS is {own.get('MAX_STEPS')} and {other.get('MAX_STEPS')}, so their learning rates differ at an equal "
        f"step, and their processor times are not equal ({used})"
    )


def _processor_seconds(run: RunColumns, index: int) -> float:
    """Return the seconds of training up to a record, times the ranks of the last record."""
    return float(training_seconds(run)[index] * (plain_values(run).get("world_size") or 1))


def _row(run: RunColumns, index: int) -> dict[str, float]:
    return {key: run.numbers[key][index] for key in MEASURES}


def _compared(
    axis: str,
    at: float,
    group: Sequence[RunColumns],
    control: Sequence[RunColumns],
    own_places: Sequence[int],
    other_places: Sequence[int],
) -> Gain | None:
    """Return the difference of the means at these records; None if no measure is known of all runs."""
    own, other = (
        [_row(run, place) for run, place in zip(side, places, strict=True)]
        for side, places in ((group, own_places), (control, other_places))
    )
    seconds = [
        mean(_processor_seconds(run, place) for run, place in zip(side, places, strict=True))
        for side, places in ((group, own_places), (control, other_places))
    ]
    keys = [key for key in MEASURES if not any(math.isnan(row[key]) for row in (*own, *other))]
    if not keys:
        return None
    values = {key: (mean(row[key] for row in own), mean(row[key] for row in other)) for key in keys}
    deviations = {key: _deviation([row[key] for row in own], [row[key] for row in other]) for key in keys}
    cost = seconds[0] / seconds[1] if seconds[1] else math.nan
    return Gain(axis, at, cost, {key: first - second for key, (first, second) in values.items()}, values, deviations)


def _deviation(own: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the standard deviation of the difference of two means."""
    if len(own) < 2 or len(other) < 2:
        return None
    return math.hypot(stdev(own) / math.sqrt(len(own)), stdev(other) / math.sqrt(len(other)))


def _names(runs: Sequence[RunColumns]) -> str:
    return ", ".join(run.label for run in runs)


def _steps(run: RunColumns) -> str:
    return f"{len(run.steps)} records up to step {run.steps[-1]}" if run.steps else "none"


def _place(gain: Gain) -> str:
    if gain.axis != "step":
        return f"after {gain.at:.0f} s of processor time"
    cost = "" if math.isnan(gain.cost) else f" for {gain.cost:.2f} times the processor time"
    return f"at step {gain.at:.0f}{cost}"


def _values(gain: Gain) -> str:
    """Return `+0.52 dB PSNR-Y (26.48 against 25.96, ±0.03), +0.0102 SSIM …`."""
    parts = []
    for key, difference in gain.gains.items():
        places, (own, other), deviation = DECIMALS[key], gain.values[key], gain.deviations[key]
        chance = "" if deviation is None else f", ±{deviation:.{places}f}"
        parts.append(f"{difference:+.{places}f} {MEASURES[key]} ({own:.{places}f} against {other:.{places}f}{chance})")
    return ", ".join(parts)

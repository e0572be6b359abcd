"""The table of metrics: name, meaning, labels, and where the value comes from.

Names follow Prometheus: base units, ratios 0…1, `_total` on counters, labels with few values. A value that is not
known is left out. docs/api.md shows this table.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service import __version__
from service.commands import Command, CommandState, Kind
from service.run_state import RunState
from service.store import RunRow

BYTES_PER_GIB = 2**30

Sample = tuple[Sequence[str], float | None]


@dataclass(frozen=True)
class Scrape:
    """What one scrape read. `now` is Unix seconds."""

    run: RunRow | None
    commands: Sequence[Command]
    record_count: int | None
    now: float

    def number(self, key: str) -> float | None:
        """A value of the live snapshot."""
        return _as_number(((self.run.snapshot if self.run else None) or {}).get(key))

    def ranks(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the ranks, in their order."""
        return ((self.run.snapshot if self.run else None) or {}).get("per_rank") or []


@dataclass(frozen=True)
class MetricRow:
    """One metric; a counter if its name ends in `_total`, else a gauge."""

    name: str
    meaning: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()


def _as_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _plain(name: str, meaning: str, key: str) -> MetricRow:
    """One value of the snapshot."""
    return MetricRow(name, meaning, lambda scrape: [((), scrape.number(key))])


def _labelled(name: str, meaning: str, label: str, keys: Mapping[str, str]) -> MetricRow:
    """Several values of the snapshot, told apart by one label: {label's value: key}."""
    return MetricRow(
        name, meaning, lambda scrape: [((text,), scrape.number(key)) for text, key in keys.items()], (label,)
    )


def _by_rank(name: str, meaning: str, key: str, factor: float = 1.0) -> MetricRow:
    def read(scrape: Scrape) -> Iterable[Sample]:
        for row in scrape.ranks():
            value = _as_number(row.get(key))
            yield (str(row.get("rank")),), None if value is None else value * factor

    return MetricRow(name, meaning, read, ("rank",))


def _of_run(name: str, meaning: str, read: Callable[[RunRow], float]) -> MetricRow:
    return MetricRow(name, meaning, lambda scrape: [((), read(scrape.run))] if scrape.run else [])


def _run_info(scrape: Scrape) -> Iterable[Sample]:
    return [((scrape.run.id,), 1.0)] if scrape.run else []


def _run_states(scrape: Scrape) -> Iterable[Sample]:
    present = scrape.run.reported_state(scrape.now) if scrape.run else None
    return [((state.value,), float(state is present)) for state in RunState]


def _ended_commands(scrape: Scrape) -> Iterable[Sample]:
    """Only ended commands are counted: a counter must not fall when a command leaves the queue."""
    if scrape.run is None:
        return []
    counts = Counter((command.kind, command.state) for command in scrape.commands)
    states = [state for state in CommandState if state.is_final]
    return [((kind.value, state.value), float(counts[kind, state])) for kind in Kind for state in states]


_LOSSES = {
    "l1": "l1_loss_value",
    "ms": "ms_loss_value",
    "gradient": "gradient_loss_value",
    "perceptual": "perceptual_loss_value",
}
_WEIGHTS = {
    "l1": "l1_weight_current",
    "ms": "ms_weight_current",
    "gradient": "gradient_weight_current",
    "perceptual": "perceptual_weight_current",
}

METRICS: tuple[MetricRow, ...] = (
    MetricRow("leitstand_build_info", "Version of the API, always 1", lambda _: [((__version__,), 1.0)], ("version",)),
    MetricRow("leitstand_run_info", "Identity of the run, always 1", _run_info, ("run_id",)),
    MetricRow("leitstand_run_state", "1 for the state that the run is in, else 0", _run_states, ("state",)),
    _of_run("leitstand_train_steps_total", "Optimizer steps done", lambda run: run.step),
    _plain("leitstand_train_samples_total", "Training samples seen by all ranks", "samples_seen"),
    _plain("leitstand_train_epoch", "Epoch, from 1", "epoch_num"),
    _plain("leitstand_train_steps_max", "Optimizer steps of the whole run", "step_max"),
    _plain("leitstand_train_total_loss", "Weighted total loss since the last log point", "total_loss_value"),
    _labelled("leitstand_train_loss", "Unweighted loss terms since the last log point", "term", _LOSSES),
    _labelled("leitstand_train_loss_weight", "Weights of the loss terms in force", "term", _WEIGHTS),
    _plain("leitstand_train_learning_rate", "Learning rate used by the last step", "learning_rate_value"),
    _plain("leitstand_train_grad_norm", "L2 norm of all gradients before clipping", "grad_norm"),
    _plain("leitstand_train_grad_clip", "Gradient norm above which gradients are scaled down", "gradient_clip_val"),
    _plain("leitstand_train_step_seconds", "Seconds per step, median since the last log point", "iteration_duration"),
    _plain("leitstand_train_samples_per_second", "Samples of all ranks per second", "samples_per_second"),
    _plain("leitstand_train_data_wait_ratio", "Share of the time spent waiting for data", "data_wait_ratio"),
    _by_rank("leitstand_rank_step_seconds", "Seconds per step of one rank", "step_duration"),
    _by_rank("leitstand_rank_data_wait_seconds", "Seconds per step that a rank waited for data", "data_wait"),
    _by_rank("leitstand_rank_memory_bytes", "Device memory in use by one rank", "memory", BYTES_PER_GIB),
    _labelled(
        "leitstand_validation_quality_ratio",
        "Mean quality over the validation images",
        "picture",
        {"ki": "quality_ki_value", "lr": "quality_lr_value"},
    ),
    _labelled("leitstand_validation_psnr_db", "Mean PSNR, RGB", "picture", {"ki": "psnr_ki_db", "lr": "psnr_lr_db"}),
    _labelled("leitstand_validation_ssim_ratio", "Mean SSIM, RGB", "picture", {"ki": "ssim_ki", "lr": "ssim_lr"}),
    _plain("leitstand_validation_loss", "Mean total loss over the validation images", "validation_loss_value"),
    _plain("leitstand_validation_best_quality_ratio", "Highest quality of the run so far", "best_quality_ever"),
    _plain("leitstand_validation_duration_seconds", "Duration of the last validation", "validation_duration"),
    MetricRow(
        "leitstand_records_total", "Records saved in the run directory", lambda scrape: [((), scrape.record_count)]
    ),
    MetricRow("leitstand_commands_total", "Ended commands by kind and outcome", _ended_commands, ("kind", "state")),
    _of_run("leitstand_heartbeat_timestamp_seconds", "Last sign of life of the trainer", lambda run: run.heartbeat_at),
    _of_run("leitstand_progress_timestamp_seconds", "Last progress of the trainer", lambda run: run.progress_at),
)

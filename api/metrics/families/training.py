"""Metrics of the training: progress, losses, state of the adaptive controller, and speed."""

from api.metrics.definition import (
    BYTES_PER_GIB,
    MetricDefinition,
    Scrape,
    from_run,
    from_snapshot,
    labelled,
    state_set,
    unlabelled,
)
from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY
from service.run.record_schema import FIELDS

_LOSSES = {term.label: term.loss_key for term in LOSS_TERMS}
_WEIGHTS = {term.label: term.weight_key for term in LOSS_TERMS}
_CHOICES = {field.name: field.choices for field in FIELDS if field.choices}


def _eta_seconds(scrape: Scrape) -> float | None:
    step_max, step_seconds = scrape.number("step_max"), scrape.number("iteration_duration")
    if scrape.run is None or step_max is None or step_seconds is None:
        return None
    return max(0.0, step_max - scrape.run.step) * step_seconds


METRICS: tuple[MetricDefinition, ...] = (
    from_run("leitstand_train_step", "Optimizer steps done, fewer after a rollback", lambda run: run.step),
    from_snapshot("leitstand_train_samples", "Training samples seen by all ranks", "samples_seen"),
    from_snapshot("leitstand_train_nonfinite_steps", "Steps skipped, loss or gradient not finite", "skipped_steps"),
    from_snapshot("leitstand_train_epoch", "Epoch, from 1", "epoch_num"),
    from_snapshot("leitstand_train_epoch_steps", "Optimizer steps per epoch", "epoch_step_total"),
    from_snapshot("leitstand_train_steps_max", "Optimizer steps of the whole run", "step_max"),
    unlabelled("leitstand_train_eta_seconds", "Time left at the present speed, validations not counted", _eta_seconds),
    from_snapshot("leitstand_train_branch", "0, and one more after every rollback", "branch_id"),
    from_snapshot("leitstand_train_total_loss", "Weighted total loss since the last log point", TOTAL_LOSS_KEY),
    labelled("leitstand_train_loss", "Unweighted loss terms since the last log point", "term", _LOSSES),
    labelled("leitstand_train_loss_weight", "Weights of the loss terms in force", "term", _WEIGHTS),
    from_snapshot("leitstand_train_learning_rate", "Learning rate used by the last step", "learning_rate_value"),
    state_set(
        "leitstand_train_lr_phase",
        "1 for the phase that the learning rate is in, else 0",
        "phase",
        "lr_phase_name",
        _CHOICES["lr_phase_name"],
    ),
    from_snapshot("leitstand_train_grad_norm", "L2 norm of all gradients before clipping", "grad_norm"),
    from_snapshot(
        "leitstand_train_grad_clip", "Gradient norm above which gradients are scaled down", "gradient_clip_val"
    ),
    from_snapshot("leitstand_train_adam_momentum", "Mean L2 norm of Adam's first moments", "adam_momentum_avg"),
    state_set(
        "leitstand_adaptive_mode",
        "1 for the mode that the adaptive controller is in, else 0",
        "mode",
        "adaptive_mode",
        _CHOICES["adaptive_mode"],
    ),
    from_snapshot("leitstand_adaptive_plateau_steps", "Steps without improvement", "adaptive_plateau_counter"),
    unlabelled(
        "leitstand_adaptive_plateau_patience_steps",
        "Steps without improvement that make a plateau",
        lambda scrape: scrape.setting("PLATEAU_PATIENCE"),
    ),
    from_snapshot(
        "leitstand_adaptive_cooldown_steps", "Steps until weights may move again", "adaptive_cooldown_remaining"
    ),
    from_snapshot(
        "leitstand_train_step_seconds", "Seconds per step, median since the last log point", "iteration_duration"
    ),
    from_snapshot("leitstand_train_samples_per_second", "Samples of all ranks per second", "samples_per_second"),
    from_snapshot("leitstand_train_data_wait_ratio", "Share of the time spent waiting for data", "data_wait_ratio"),
    from_snapshot(
        "leitstand_train_peak_memory_bytes", "Highest GPU memory of any rank, 0 on CPU", "vram_usage_gb", BYTES_PER_GIB
    ),
)

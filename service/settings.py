"""Every setting of a run, in one frozen table: name, default, unit, range, meaning.

A setting is written in capitals (`VAL_STEP_EVERY`) wherever a person meets it and as a lower-case attribute in code.
`service/config.py` reads values into this table; nothing else does.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from service.errors import SettingError

Value = int | float | bool | str | Path

_DEFAULT_RUN = Path("runs/default")
_DEFAULT_DATA = Path("data/default")

RENAMED = {"SAVE_STEP_EVERY": "CHECKPOINT_EVERY", "LOG_TBOARD_EVERY": "LOG_EVERY", "GRAD_CLIP": "INITIAL_GRAD_CLIP"}
"""Names of the original trainer that live on under another name; both are understood."""

WITHOUT_EFFECT = {
    "HIST_STEP_EVERY": "it never had a consumer",
    "USE_AMP": "this version trains in float32",
    "VAL_BATCH_SIZE": "validation scores one image at a time",
    "ADAPTIVE_LOSS_WEIGHTS": "this version keeps the loss weights fixed",
    "ADAPTIVE_GRAD_CLIP": "this version keeps the gradient clip fixed",
}
"""Names of the original trainer that nothing reads; giving one is an error, because it would silently do nothing."""


@dataclass(frozen=True, kw_only=True)
class SettingRule:
    """What a setting's value must satisfy, and what it means."""

    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Value) -> None:
        """Raise `SettingError` naming the value and the range when `value` is not allowed."""
        if self.choices and value not in self.choices:
            raise SettingError(f"{name} is {value!r}, but must be one of: {', '.join(self.choices)}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        too_small = self.minimum is not None and not value >= self.minimum
        too_large = self.maximum is not None and not value <= self.maximum
        if too_small or too_large:
            raise SettingError(f"{name} is {value}, but must be {self.range_text()}.")

    def range_text(self) -> str:
        """The allowed range in words, or an empty string."""
        if self.choices:
            return " or ".join(f"`{choice}`" for choice in self.choices)
        if self.minimum is not None and self.maximum is not None:
            return f"between {self.minimum:g} and {self.maximum:g}"
        return f"at least {self.minimum:g}" if self.minimum is not None else ""


def setting(
    default: Any,
    meaning: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that carries its rule; `Any` because it stands for fields of every type."""
    rule = SettingRule(meaning=meaning, minimum=minimum, maximum=maximum, choices=choices)
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The effective settings of one run. Construction checks every range and every contradiction between settings."""

    # Where
    data_root: Path = setting(_DEFAULT_RUN, "run directory: everything a run writes (the Learning directory)")
    dataset_root: Path = setting(_DEFAULT_DATA, "patch set: `{Patches,Val}/{GT,LR}/*.png`; only ever read")
    video_root: str = setting("", "folder of your own videos, from which `leitstand up` makes the patch set once")
    clips: str = setting("small", "real clips fetched where VIDEO_ROOT is empty", choices=("small", "film"))

    # Network
    workload: str = setting("ddp.vsr.workload", "import path of the workload: model, losses, data, quality")
    n_feats: int = setting(128, "feature channels", 1, 1024)
    n_blocks: int = setting(32, "residual blocks over both directions together", 2, 512)
    n_frames: int = setting(5, "low-resolution frames in (5 or 7)", 5, 7)
    scale: int = setting(3, "enlargement factor", 2, 4)

    # Data
    batch_size: int = setting(4, "samples per rank and micro-batch", 1, 4096)
    accumulation_steps: int = setting(1, "micro-batches per optimizer step", 1, 1024)
    patch_size: int = setting(0, "random crop in low-resolution pixels; 0 takes the whole patch", 0, 4096)
    num_workers: int = setting(4, "loader processes per rank", 0, 128)
    pin_memory: bool = setting(True, "page-locked host memory for transfers to a GPU")
    seed: int = setting(0, "seed of initialisation, order and augmentation", 0, 2**31 - 1)

    # Optimisation
    lr_exponent: float = setting(-5.0, "the warm-up starts at a learning rate of 10^LR_EXPONENT", -12, 0)
    max_lr: float = setting(1e-4, "learning rate at the end of the warm-up", 1e-9, 1)
    min_lr: float = setting(1e-6, "learning rate at the end of the cosine", 0, 1)
    warmup_steps: int = setting(1000, "optimizer steps of linear warm-up", 0, 10**9)
    max_steps: int = setting(100_000, "optimizer steps of the whole run", 1, 10**9)
    weight_decay: float = setting(0.001, "AdamW weight decay", 0, 1)
    initial_grad_clip: float = setting(1.5, "gradient norm above which gradients are scaled down", 1e-6, 1e6)
    l1_weight: float = setting(0.6, "weight of the L1 term", 0, 1)
    ms_weight: float = setting(0.2, "weight of the multi-scale term", 0, 1)
    grad_weight: float = setting(0.2, "weight of the gradient term", 0, 1)
    perceptual_weight: float = setting(0.0, "weight of the perceptual term, on top of the other three", 0, 0.25)
    perceptual_weights: str = setting("", "file of VGG16 weights; empty takes the optional package's backbone")

    # Rhythm, in optimizer steps
    log_every: int = setting(100, "steps between log points", 1, 10**6)
    val_step_every: int = setting(500, "steps between scheduled validations", 1, 10**9)
    checkpoint_every: int = setting(1000, "steps between checkpoints", 1, 10**9)

    # Processes
    device: str = setting("auto", "what to train on", choices=("auto", "cpu", "cuda"))
    threads_per_rank: int = setting(1, "CPU threads of one rank", 1, 256)

    # The API
    api_host: str = setting("127.0.0.1", "address the API listens on; any other than loopback needs API_TOKEN")
    api_port: int = setting(5050, "port the API listens on", 1, 65535)
    api_token: str = setting("", "token that requests must bear; empty means loopback only, without a token")

    def __post_init__(self) -> None:
        for item in fields(self):
            rule_of(item.name).check(item.name.upper(), getattr(self, item.name))
        check_together(self)


def rule_of(attribute: str) -> SettingRule:
    """The rule of the setting with this lower-case attribute name."""
    rule = RunConfig.__dataclass_fields__[attribute].metadata["rule"]
    assert isinstance(rule, SettingRule)
    return rule


def check_together(config: RunConfig) -> None:
    """Raise `SettingError` where settings contradict each other."""
    if config.min_lr > config.max_lr:
        raise SettingError(f"MIN_LR is {config.min_lr:g}, but must not exceed MAX_LR, which is {config.max_lr:g}.")
    if config.n_frames % 2 == 0:
        raise SettingError(f"N_FRAMES is {config.n_frames}, but must be odd (5 or 7): the centre frame is the target.")
    if config.l1_weight + config.ms_weight + config.grad_weight <= 0:
        raise SettingError("L1_WEIGHT, MS_WEIGHT and GRAD_WEIGHT are all 0: nothing would be learnt; raise one.")

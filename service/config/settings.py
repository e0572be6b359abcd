"""Definition of every setting of a run: name, default, unit, range, meaning.

Users write a setting in upper case (`VAL_STEP_EVERY`); in code it is a lower-case attribute.
`service/config/loader.py` is the only module that loads values into it.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from service.config.data_sources import data_sources, named_sets
from service.config.timeouts import check_hang_order
from service.errors import SettingError

Value = int | float | bool | str | Path

_DEFAULT_RUN = Path("runs/default")
_DEFAULT_DATA = Path("data/default")

RENAMED = {
    "SAVE_STEP_EVERY": "CHECKPOINT_EVERY",
    "LOG_TBOARD_EVERY": "LOG_EVERY",
    "GRAD_CLIP": "INITIAL_GRAD_CLIP",
    "USE_GRADIENT_CHECKPOINTING": "ACTIVATION_CHECKPOINTING",
}
"""Names of the original trainer that have been renamed; both names are accepted."""

WITHOUT_EFFECT = {
    "HIST_STEP_EVERY": "it never had a consumer",
    "USE_AMP": "it never had a consumer; PRECISION=bfloat16 is what it meant",
    "LR_UPDATE_EVERY": "the learning rate is computed for every step",
    "VAL_BATCH_SIZE": "validation scores one image at a time",
}
"""Names of the original trainer that have no effect; using one is an error rather than being ignored silently."""


TRACKERS = ("mlflow", "wandb", "trackio", "aim")
"""Experiment trackers that TRACKERS can name."""


@dataclass(frozen=True, kw_only=True)
class SettingRule:
    """Allowed values and meaning of a setting."""

    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Value) -> None:
        """Raise `SettingError` with value and range if `value` is not allowed."""
        if self.choices and value not in self.choices:
            raise SettingError(f"{name} is {value!r}, but must be one of: {', '.join(self.choices)}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        too_small = self.minimum is not None and not value >= self.minimum
        too_large = self.maximum is not None and not value <= self.maximum
        if too_small or too_large:
            raise SettingError(f"{name} is {value}, but must be {self.range_text()}.")

    def range_text(self) -> str:
        """Return a description of the allowed range, or an empty string."""
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
    """Return a dataclass field with its rule; typed as `Any`, because fields have different types."""
    rule = SettingRule(meaning=meaning, minimum=minimum, maximum=maximum, choices=choices)
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The effective settings of one run; the constructor checks all ranges and contradictions between settings."""

    # Where
    data_root: Path = setting(_DEFAULT_RUN, "run directory: everything a run writes (the Learning directory)")
    dataset_root: Path = setting(_DEFAULT_DATA, "patch set: `{Patches,Val}/{GT,LR}/*.png`; only ever read")
    data_sources: str = setting("", "more patch sets, `path:weight` separated by commas; DATASET_ROOT has weight 1")
    video_root: str = setting("", "folder of your own videos, from which `leitstand up` makes the patch set once")
    preview_root: str = setting("", "folder whose clips `POST /previews` may render; empty: VIDEO_ROOT")
    clips: str = setting("small", "real clips fetched where VIDEO_ROOT is empty", choices=("small", "film"))
    patch_count: int = setting(0, "training patches that are cut; 0: 480 of the small clips, else 2000", 0, 10_000_000)
    val_count: int = setting(0, "validation images that are cut; 0: 8 of the small clips, else 24", 0, 100_000)
    degradation: str = setting(
        "bicubic",
        "how low resolution is made: like MATLAB's imresize, or a blur of sigma 1.6 and every SCALE-th pixel",
        choices=("bicubic", "blur-down"),
    )
    evaluation_sets: str = setting("", "clips that `leitstand evaluate` measures: `name=path` separated by commas")
    hdr: str = setting(
        "map",
        "what becomes of HDR video (PQ, HLG) in a patch set: mapped to SDR, or named and left out",
        choices=("map", "leave-out"),
    )
    init_from: str = setting("", "checkpoint, run folder, file of weights, or `shipped`, with which a new run begins")
    replay_file: str = setting("", "interventions of another run that this one repeats, by `leitstand replay export`")
    store_url: str = setting("", "PostgreSQL store that many runs report into; empty keeps one in DATA_ROOT")

    # Network
    workload: str = setting("ddp.vsr.workload", "import path of the workload: model, losses, data, quality")
    network: str = setting(
        "aligned",
        "`aligned`: behind an alignment; `single`: the centre frame alone, a control; `recurrent`: the original's",
        choices=("aligned", "single", "recurrent"),
    )
    n_feats: int = setting(128, "feature channels", 1, 1024)
    n_blocks: int = setting(32, "residual blocks, of `recurrent` over both directions together", 2, 512)
    n_frames: int = setting(5, "low-resolution frames in (5 or 7)", 5, 7)
    scale: int = setting(3, "enlargement factor", 2, 4)

    # Data
    batch_size: int = setting(4, "samples per rank and micro-batch", 1, 4096)
    accumulation_steps: int = setting(1, "micro-batches per optimizer step", 1, 1024)
    patch_size: int = setting(0, "random crop in low-resolution pixels; 0 takes the whole patch", 0, 4096)
    lr_noise: float = setting(0.0, "strongest Gaussian noise on LR of training samples: sigma in levels of 255", 0, 100)
    lr_shot_noise: float = setting(0.0, "strongest shot noise there: its variance, in multiples of the level", 0, 20)
    lr_jpeg_quality: int = setting(0, "lowest JPEG quality of LR of training samples; 0 does not compress", 0, 95)
    lr_codec_crf: int = setting(0, "highest CRF of H.264 there, all frames of a sample as one clip; 0: none", 0, 51)
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
    lr_scale: float = setting(1.0, "factor on the learning rate that schedule and boost give", 0, 100)
    fusion_lr_factor: float = setting(1.0, "learning rate of the final fusion, in multiples of all others'", 0, 100)
    l1_weight: float = setting(0.6, "weight of the L1 term; all four are scaled to sum to 1", 0, 1)
    ms_weight: float = setting(0.2, "weight of the multi-scale term", 0, 1)
    grad_weight: float = setting(0.2, "weight of the gradient term", 0, 1)
    perceptual_weight: float = setting(0.0, "weight of the perceptual term; at 0 it is not built", 0, 0.25)
    perceptual_weights: str = setting("", "file of VGG16 weights; empty takes the optional package's backbone")
    ema_decay: float = setting(0.0, "decay per step of averaged (EMA) weights; 0 keeps none", 0, 0.99999)

    # The adaptive controller, in optimizer steps
    adaptive_loss_weights: bool = setting(True, "let the controller change the loss weights")
    adaptive_grad_clip: bool = setting(True, "let the controller change the gradient clip")
    adaptive_lr_boost: bool = setting(True, "let a plateau raise the learning rate for a while")
    adaptive_warmup_steps: int = setting(1000, "steps in mode Warmup, in which no weight changes", 0, 10**9)
    settling_steps: int = setting(100, "steps in mode Settling, after Warmup, in which no weight changes", 0, 10**9)
    cooldown_duration: int = setting(80, "steps after a change of the weights until the next", 0, 10**6)
    plateau_patience: int = setting(250, "steps without improvement that make a plateau", 1, 10**6)
    plateau_safety_threshold: int = setting(800, "steps without improvement that reset the weights", 1, 10**6)
    boost_steps: int = setting(1000, "steps over which a boost of the learning rate decays", 1, 10**6)
    adapt_every: int = setting(10, "steps between two decisions; each sees the steps up to the one before", 1, 10**4)

    # How a step is computed
    precision: str = setting(
        "float32",
        "arithmetic of the network; `auto`: bfloat16 where the device has it",
        choices=("float32", "bfloat16", "auto"),
    )
    channels_last: bool = setting(False, "store feature maps channels-last: faster convolutions on many devices")
    fused_adamw: bool = setting(True, "update all weights in one kernel; false costs one wait for a GPU per step")
    compile_model: bool = setting(False, "compile the network with torch.compile; needs a C++ compiler on a CPU")
    activation_checkpointing: bool = setting(False, "recompute activations in backward: less memory, more time")
    static_graph: bool = setting(False, "tell DDP that every step uses the same layers")
    gradient_as_bucket_view: bool = setting(True, "let gradients share DDP's buckets: less memory")
    nonfinite_limit: int = setting(10, "steps in a row with a loss or gradient not finite that roll back", 1, 10**6)

    # Rhythm, in optimizer steps
    log_every: int = setting(100, "steps between log points", 1, 10**6)
    val_tile: int = setting(0, "side of validation tiles in LR pixels; 0 takes tiles where memory is short", 0, 65536)
    val_border: int = setting(0, "pixels on every side that are left out of scores; many papers: SCALE", 0, 1024)
    val_step_every: int = setting(500, "steps between scheduled validations", 1, 10**9)
    checkpoint_every: int = setting(1000, "steps between checkpoints", 1, 10**9)
    keep_checkpoints: int = setting(5, "newest scheduled checkpoints that are kept; 0 keeps all", 0, 10**6)
    pack_records: int = setting(0, "newest records that are not packed, as older ones are; 0 packs none", 0, 10**9)
    keep_records_every: int = setting(0, "steps between old records that are not archived; 0 archives none", 0, 10**9)
    keep_records: int = setting(100, "newest records that are never archived", 1, 10**9)
    save_best: bool = setting(True, "save a checkpoint after a validation that is the best so far")
    last_save_seconds: float = setting(60.0, "seconds for which the end tries to save the last state", 0, 10**6)

    # Processes
    device: str = setting("auto", "what to train on", choices=("auto", "cpu", "cuda"))
    threads_per_rank: int = setting(1, "CPU threads of one rank", 1, 256)
    fork_server: bool = setting(True, "start CPU ranks as forks of a process that has imported what they need")
    collective_timeout_seconds: float = setting(
        1800.0, "seconds that ranks wait for each other before the training fails", 10, 10**7
    )
    stall_seconds: float = setting(
        60.0, "most seconds in one stage after which a rank counts as stalled; usual stages are learnt", 0.1, 10**6
    )
    stall_action: str = setting(
        "report", "what happens to a stalled rank: it is named, or also ended", choices=("report", "restart")
    )

    # Reports beside records
    tensorboard: bool = setting(False, "write scalars for TensorBoard into DATA_ROOT/tensorboard")
    tensorboard_images: bool = setting(False, "write the preview pictures there too")
    trackers: str = setting("", "other trackers to tell, separated by commas: mlflow, wandb, trackio, aim")
    tracker_experiment: str = setting("leitstand", "experiment or project of theirs in which they keep the run")
    tracker_end_seconds: float = setting(20.0, "seconds for which the end waits at most for them", 0, 3600)
    webhook_url: str = setting("", "address that gets a signed POST whenever an alert begins or ends")
    webhook_secret: str = setting("", "key of the signature of these POSTs")
    webhook_old_secret: str = setting("", "a second key that signs them too, while receivers change to the first")
    notify_urls: str = setting("", "addresses that get each alert too, by e-mail, ntfy, Slack …, separated by spaces")
    public_url: str = setting("", "address at which people's phones reach the API, for buttons in notifications")
    action_secret: str = setting("", "key that signs these buttons, which pause or stop a run; empty: there are none")
    alert_record_seconds: float = setting(86400.0, "seconds without a new record that raise an alert; 0 never", 0, 1e9)
    alert_disk_gib: float = setting(2.0, "free GiB in DATA_ROOT below which there is an alert", 0, 1e6)

    # The API
    api_host: str = setting("127.0.0.1", "address the API listens on; any other than loopback needs a token")
    api_port: int = setting(5050, "port the API listens on", 1, 65535)
    api_token: str = setting("", "token that requests must send; without any token, loopback only")
    api_tokens: str = setting("", "file of hashed tokens with scopes, made by `leitstand token`")
    api_hosts: str = setting("", "host names, separated by commas, that the API serves; empty: any, given a token")
    api_proxies: int = setting(0, "reverse proxies in front whose X-Forwarded headers are trusted", 0, 10)
    api_streams: int = setting(32, "event streams open at a time", 0, 48)
    api_commands_per_minute: int = setting(300, "commands that one token or address may send a minute", 1, 10**6)
    api_reads_per_minute: int = setting(30_000, "other requests that one token or address may send a minute", 1, 10**9)
    run_roots: str = setting("", "more run directories, or folders of them, to serve; separated by `:`")

    def __post_init__(self) -> None:
        for item in fields(self):
            rule_of(item.name).check(item.name.upper(), getattr(self, item.name))
        check_consistency(self)


def tracker_names(config: RunConfig) -> tuple[str, ...]:
    """Return the names in TRACKERS, each once. Raises `SettingError` for one that is none."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in config.trackers.split(",") if name.strip()))
    for name in names:
        if name not in TRACKERS:
            raise SettingError(
                f"TRACKERS is {config.trackers!r}, but must be names of {', '.join(TRACKERS)} with commas between; "
                "TensorBoard has a setting of its own, TENSORBOARD."
            )
    return names


def rule_of(attribute: str) -> SettingRule:
    """Return the rule of the setting with this lower-case attribute name."""
    rule = RunConfig.__dataclass_fields__[attribute].metadata["rule"]
    assert isinstance(rule, SettingRule)
    return rule


def check_consistency(config: RunConfig) -> None:
    """Raise `SettingError` if settings contradict each other."""
    tracker_names(config)
    if not config.tracker_experiment.strip():
        raise SettingError("TRACKER_EXPERIMENT is empty, but must be the name of an experiment or project.")
    data_sources(config.dataset_root, config.data_sources)
    named_sets(config.evaluation_sets.split(","))
    if config.min_lr > config.max_lr:
        raise SettingError(
            f"MIN_LR is {config.min_lr:g}, but must not exceed MAX_LR, which is {config.max_lr:g}.",
            ["MIN_LR", "MAX_LR"],
        )
    if config.n_frames % 2 == 0:
        raise SettingError(f"N_FRAMES is {config.n_frames}, but must be odd (5 or 7): the centre frame is the target.")
    if config.static_graph and config.accumulation_steps > 1:
        raise SettingError(
            f"STATIC_GRAPH does not go together with ACCUMULATION_STEPS, which is {config.accumulation_steps}: "
            "torch's DDP fails in the first step; switch one of them off.",
            ["STATIC_GRAPH", "ACCUMULATION_STEPS"],
        )
    if config.plateau_safety_threshold < config.plateau_patience:
        raise SettingError(
            f"PLATEAU_SAFETY_THRESHOLD is {config.plateau_safety_threshold}, but must not be below PLATEAU_PATIENCE, "
            f"which is {config.plateau_patience}.",
            ["PLATEAU_SAFETY_THRESHOLD", "PLATEAU_PATIENCE"],
        )
    check_hang_order(config.stall_seconds, config.stall_action, config.collective_timeout_seconds)
    if config.l1_weight + config.ms_weight + config.grad_weight <= 0:
        raise SettingError(
            "L1_WEIGHT, MS_WEIGHT and GRAD_WEIGHT are all 0: nothing would be learnt; raise one.",
            ["L1_WEIGHT", "MS_WEIGHT", "GRAD_WEIGHT"],
        )

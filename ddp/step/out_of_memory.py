"""Explanation of an out-of-memory error: finds the largest batch that fits by trying."""

import gc
from collections.abc import Callable

import torch

from service.config.fixed_settings import FixedSettings

_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "bad allocation")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports exhausted memory, on a GPU or on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        message in str(error) for message in _MESSAGES
    )


def largest_fitting_batch(attempt: Callable[[int], None], largest: int) -> int:
    """Return the largest of `largest`, `largest` // 2, … 1 that `attempt` succeeds with; 0 if not even 1 fits."""
    size = largest
    while size >= 1:
        free_memory()
        try:
            attempt(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size //= 2
        else:
            return size
    return 0


def out_of_memory_sentence(rank: int, device: str, settings: FixedSettings, fitting: int) -> str:
    """Build the error message with the settings to change, given that `fitting` samples per micro-batch fit."""
    start = f"Rank {rank} ran out of memory on {device} with BATCH_SIZE {settings.batch_size}"
    if not fitting:
        return f"{start}, and a single sample does not fit either: {_smaller(settings)}"
    factor = -(-settings.batch_size // fitting) * settings.accumulation_steps
    return (
        f"{start}; {fitting} fits: set BATCH_SIZE={fitting} and ACCUMULATION_STEPS={factor} for the same samples per "
        f"step, or {_smaller(settings)}"
    )


def _smaller(settings: FixedSettings) -> str:
    changes = [] if settings.activation_checkpointing else ["ACTIVATION_CHECKPOINTING=true"]
    changes += ["PRECISION=bfloat16"] if settings.precision == "float32" else []
    return f"set {', '.join([*changes, 'a smaller PATCH_SIZE'])} or a smaller N_FEATS."


def free_memory() -> None:
    """Release what no object uses any more, also the cache of a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

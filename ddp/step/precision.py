"""The arithmetic of the network's passes: float32, or bfloat16 under autocast where the device has it.

Weights, gradients, loss and optimizer stay float32 in both.
"""

import logging
from contextlib import AbstractContextManager, nullcontext

import torch

logger = logging.getLogger(__name__)


def is_bfloat16(setting: str, device: torch.device) -> bool:
    """Return whether PRECISION means bfloat16 on this device; `auto` does where the device computes in it."""
    return setting == "bfloat16" or (setting == "auto" and has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16; elsewhere torch converts to float32 and back, which is slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch 2.6 cannot be asked, so there `auto` is float32; with an attribute, mypy would know of the newest alone.
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def autocast(setting: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass. One for float32 would cost time and do nothing."""
    return torch.autocast(device.type, torch.bfloat16) if is_bfloat16(setting, device) else nullcontext()


def log_arithmetic(setting: str, device: torch.device) -> None:
    """Log what a person should know of PRECISION on this device."""
    if sentence := notice(setting, device):
        logger.info("%s", sentence)


def notice(setting: str, device: torch.device) -> str | None:
    """Return what a person should know of PRECISION on this device, if anything."""
    if setting == "float32":
        return None
    what = "This CPU" if device.type == "cpu" else f"The device {device}"
    if has_bfloat16(device):
        return f"PRECISION={setting}: the network computes in bfloat16." if setting == "auto" else None
    if setting == "auto":
        return f"{what} has no bfloat16 arithmetic: the network computes in float32."
    return f"{what} has no bfloat16 arithmetic, so that PRECISION=bfloat16 is slow here: PRECISION=auto takes float32."

"""The type of the settings that cannot change during a training.

`RunConfig` has all settings, some of which a command can change during the run. A class that stores settings
permanently takes `FixedSettings` instead, so that the type checker rejects access to a setting that can change.
"""

from typing import Protocol


class FixedSettings(Protocol):
    """Settings of how a step is computed, none of which can change during a run; `RunConfig` implements this."""

    @property
    def batch_size(self) -> int:
        """Samples per rank and micro-batch."""

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches per optimizer step."""

    @property
    def precision(self) -> str:
        """`float32`, `bfloat16` or `auto`."""

    @property
    def channels_last(self) -> bool:
        """True if feature maps are stored channels-last."""

    @property
    def activation_checkpointing(self) -> bool:
        """True if activations are recomputed in the backward pass."""

    @property
    def compile_model(self) -> bool:
        """True if the network is compiled."""

    @property
    def static_graph(self) -> bool:
        """True if DDP may assume that every step uses the same layers."""

    @property
    def gradient_as_bucket_view(self) -> bool:
        """True if gradients share the memory of DDP's buckets."""

    @property
    def fused_adamw(self) -> bool:
        """True if AdamW updates all weights in one kernel."""

    @property
    def weight_decay(self) -> float:
        """AdamW's weight decay."""

    @property
    def ema_decay(self) -> float:
        """Decay per step of the EMA weights; 0 disables them."""

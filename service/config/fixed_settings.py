"""The settings that a training holds from its start to its end, as a type of their own.

`RunConfig` has all settings; which of its values are in force can change while the run goes on. A class that keeps
settings for good asks for `FixedSettings` instead: the type checker then refuses to read one that a command can change.
"""

from typing import Protocol


class FixedSettings(Protocol):
    """How a step is computed; a `RunConfig` is one. None of these can be changed in a running training."""

    @property
    def batch_size(self) -> int:
        """Samples per rank and micro-batch."""

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches per optimizer step."""

    @property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""

    @property
    def channels_last(self) -> bool:
        """Whether feature maps are stored channels-last."""

    @property
    def activation_checkpointing(self) -> bool:
        """Whether activations are recomputed in backward."""

    @property
    def compile_model(self) -> bool:
        """Whether the network is compiled."""

    @property
    def static_graph(self) -> bool:
        """Whether DDP is told that every step uses the same layers."""

    @property
    def gradient_as_bucket_view(self) -> bool:
        """Whether gradients share DDP's buckets."""

    @property
    def fused_adamw(self) -> bool:
        """Whether AdamW updates all weights in one kernel."""

    @property
    def weight_decay(self) -> float:
        """AdamW's weight decay."""

    @property
    def ema_decay(self) -> float:
        """Decay per step of the EMA weights; 0 keeps none."""

"""State of the controller without its weights: everything else that a checkpoint must contain."""

from dataclasses import dataclass, field
from typing import Any

from ddp.adaptive.grad_clip import GradClip
from ddp.adaptive.learning_rate import LrBoost
from ddp.adaptive.perceptual import PerceptualWeight, WeightTrend
from ddp.adaptive.plateau import Plateau
from ddp.adaptive.policy import Sharpness
from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig


@dataclass
class ControllerState:
    """State of the controller. `cooldown_until`, `rests_until` and `aggressive_since` are numbers of completed steps.

    `steps_done` is from the last decision. Before `rests_until` sharpness moves no weights, because earlier moves did
    not help. `perceptual_direction` is the last direction of the perceptual weight: 1 up, -1 down, 0 none yet.
    """

    clip: GradClip
    trend: WeightTrend
    sharpness: Sharpness = field(default_factory=Sharpness)
    perceptual: PerceptualWeight = field(default_factory=PerceptualWeight)
    plateau: Plateau = field(default_factory=Plateau)
    boost: LrBoost | None = None
    steps_done: int = 0
    cooldown_until: int = 0
    rests_until: int = 0
    aggressive_since: int | None = None
    perceptual_direction: int = 0

    @property
    def cooldown_remaining(self) -> int:
        """Number of steps until the weights may be adjusted again."""
        return max(0, self.cooldown_until - self.steps_done)

    def state(self) -> dict[str, Any]:
        """Return plain JSON values for a checkpoint."""
        return {
            "clip": self.clip.state(),
            "trend": self.trend.state(),
            "sharpness": self.sharpness.state(),
            "perceptual": self.perceptual.state(),
            "plateau": self.plateau.state(),
            "boost": None if self.boost is None else self.boost.state(),
            "steps_done": self.steps_done,
            "cooldown_until": self.cooldown_until,
            "rests_until": self.rests_until,
            "aggressive_since": self.aggressive_since,
            "perceptual_direction": self.perceptual_direction,
        }

    @classmethod
    def restored(cls, config: RunConfig, saved: StateReader) -> "ControllerState":
        """Return the saved state with these settings. Raises `ValueError`."""
        boost = saved.part_or_none("boost")
        return cls(
            clip=GradClip.restored(config, saved.part("clip")),
            trend=WeightTrend(saved.points("trend")),
            sharpness=Sharpness(saved.numbers("sharpness")),
            perceptual=PerceptualWeight.restored(saved.part("perceptual")),
            plateau=Plateau.restored(saved.part("plateau")),
            boost=None if boost is None else LrBoost.restored(boost),
            steps_done=saved.whole("steps_done"),
            cooldown_until=saved.whole("cooldown_until"),
            rests_until=saved.whole("rests_until"),
            aggressive_since=saved.whole_or_none("aggressive_since"),
            perceptual_direction=saved.whole("perceptual_direction", -1),
        )

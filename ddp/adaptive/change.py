"""What the controller tells about itself: one change of course, with its reason."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """`kind` is `mode`, `weights`, `perceptual`, `boost` or `safety reset`; `details` are plain JSON values."""

    kind: str
    reason: str
    details: dict[str, Any]

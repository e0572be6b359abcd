"""How measured things read."""

import pytest

from ddp.adaptive.types import Change
from ddp.validation.record_values import change_text


@pytest.mark.parametrize(
    ("kind", "details", "text"),
    [
        ("mode", {"before": "Warmup", "after": "Settling"}, "mode Settling"),
        ("weights", {"after": {"l1": 0.59, "ms": 0.2}}, "weights l1 0.590, ms 0.200"),
        ("boost", {"height": 1e-4}, "boost"),
    ],
)
def test_a_change_of_the_controller_says_what_holds_now(kind: str, details: dict[str, object], text: str) -> None:
    assert change_text(Change(kind, "because", details)) == text

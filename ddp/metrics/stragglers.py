"""Which rank is called slow: the one that several windows in a row found slower than the others."""

WINDOWS_IN_A_ROW = 3
"""One window may be a hiccup of the machine."""


class StragglerDetector:
    """Remembers the rank that was named, or None."""

    def __init__(self) -> None:
        self.named: int | None = None
        self._found: int | None = None
        self._times = 0

    def update(self, slow: int | None) -> bool:
        """Take in what one window found; whether another rank than before is named now, or none any more."""
        self._times = self._times + 1 if slow == self._found else 1
        self._found = slow
        if self._times < WINDOWS_IN_A_ROW or slow == self.named:
            return False
        self.named = slow
        return True

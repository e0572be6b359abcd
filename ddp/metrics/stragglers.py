"""Straggler detection: a rank counts as slow once several windows in a row found it slower than the others."""

WINDOWS_IN_A_ROW = 3
"""Number of windows that must agree, since a single one may be slow by chance."""


class StragglerDetector:
    """Detector of a slow rank; `slow_rank` is the rank reported last, or None."""

    def __init__(self) -> None:
        self.slow_rank: int | None = None
        self._candidate: int | None = None
        self._windows = 0

    def update(self, slow: int | None) -> bool:
        """Add the slow rank of one window, or None; return whether `slow_rank` changed."""
        self._windows = self._windows + 1 if slow == self._candidate else 1
        self._candidate = slow
        if self._windows < WINDOWS_IN_A_ROW or slow == self.slow_rank:
            return False
        self.slow_rank = slow
        return True

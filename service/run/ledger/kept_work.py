"""How many seconds of steps were kept: what a later start or a rollback made again is lost."""

from bisect import bisect_right

MAX_MARKS = 4096
"""Of more marks every second one is forgotten; between two, steps count as equally long."""


class KeptWork:
    """Seconds of steps up to each mark of the present line of steps.

    `total` is always the sum of all seconds of steps so far, lost or not.
    """

    def __init__(self) -> None:
        self._steps: list[int] = [0]
        self._kept: list[float] = [0.0]
        self.lost_seconds = 0.0

    def __len__(self) -> int:
        """Return the number of marks."""
        return len(self._steps)

    def note(self, step: int, total: float) -> None:
        """Note that `step` was reached after so many seconds of steps."""
        kept = max(self._kept[-1], total - self.lost_seconds)
        if step > self._steps[-1]:
            self._steps.append(step)
            self._kept.append(kept)
            if len(self._steps) > MAX_MARKS:
                del self._steps[1:-1:2], self._kept[1:-1:2]
        elif step == self._steps[-1]:
            self._kept[-1] = kept

    def go_back(self, step: int, total: float) -> None:
        """Note that the run goes on after `step`: what came later is lost."""
        kept_until_now, kept = max(self._kept[-1], total - self.lost_seconds), self._kept_at(step)
        if step > self._steps[-1]:
            kept = kept_until_now
        self.lost_seconds += kept_until_now - kept
        end = bisect_right(self._steps, step)
        del self._steps[end:], self._kept[end:]
        if step > self._steps[-1]:
            self._steps.append(step)
            self._kept.append(kept)

    def _kept_at(self, step: int) -> float:
        index = bisect_right(self._steps, step)
        if index == 0:
            return 0.0
        if index == len(self._steps):
            return self._kept[-1]
        before, after = self._steps[index - 1], self._steps[index]
        share = (step - before) / (after - before)
        return self._kept[index - 1] + share * (self._kept[index] - self._kept[index - 1])

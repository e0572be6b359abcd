"""The activity of each layer over the records, averaged over so few columns that a picture can show them."""

from collections.abc import Mapping, Sequence

MAX_COLUMNS = 240
MAX_LAYERS = 400


class ActivityMap:
    """Means of each layer's activity (percent of the strongest) over neighbouring records."""

    def __init__(self, count: int) -> None:
        """Take the activities of at most `count` records, one after another."""
        self._count = max(count, 1)
        self._width = min(self._count, MAX_COLUMNS)
        self._sums: dict[str, list[float]] = {}
        self._counts: dict[str, list[int]] = {}
        self._added = 0

    def add(self, activity: Mapping[str, float | None]) -> None:
        """Add the activities of the next record."""
        column = min(self._added * self._width // self._count, self._width - 1)
        for layer, value in activity.items():
            if value is None or (layer not in self._sums and len(self._sums) >= MAX_LAYERS):
                continue
            self._sums.setdefault(layer, [0.0] * self._width)[column] += value
            self._counts.setdefault(layer, [0] * self._width)[column] += 1
        self._added += 1

    def columns(self) -> int:
        """Return how many columns are filled."""
        return min(self._added * self._width // self._count, self._width) if self._added < self._count else self._width

    def rows(self) -> Mapping[str, Sequence[float | None]]:
        """Return the mean activities of each layer, in the order in which the records name them."""
        filled = max(self.columns(), 1)
        return {
            layer: [
                total / count if count else None
                for total, count in zip(sums[:filled], self._counts[layer][:filled], strict=True)
            ]
            for layer, sums in self._sums.items()
        }

"""The result of an evaluation for people, as a table, and for programs, as JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ddp.inference.evaluate.measures import MEASURES, Scores, SetScores
from ddp.inference.network import TrainedNetwork
from service import __version__

FORMAT, FORMAT_VERSION = "leitstand-evaluation", 1
HEADINGS = ("PSNR", "SSIM", "PSNR-Y", "SSIM-Y", "dtSSD-Y")
DECIMALS = (2, 4, 2, 4, 2)
MEAN = "mean of the clips"


def as_text(sets: Sequence[SetScores]) -> str:
    """Return a table for each set: a row for each clip and variant, and the means over the clips."""
    return "\n\n".join(_set_text(item) for item in sets if item.clips)


def _set_text(scores: SetScores) -> str:
    rows: list[tuple[str, ...]] = [("clip", "frames", "", *HEADINGS)]
    for clip in scores.clips:
        rows += _rows(clip.name, str(len(clip.frames)), clip.means())
    rows += _rows(MEAN, "", scores.means())
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = {0, 2}
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"{scores.name}: {scores.path}", *lines])


def _rows(name: str, count: str, means: Mapping[str, Scores]) -> Iterator[tuple[str, ...]]:
    for number, (variant, found) in enumerate(means.items()):
        values = [_number(found[measure], places) for measure, places in zip(MEASURES, DECIMALS, strict=True)]
        yield (name if number == 0 else "", count if number == 0 else "", variant, *values)


def _number(value: float, places: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{places}f}"


def as_json(sets: Sequence[SetScores], networks: Mapping[str, TrainedNetwork], protocol: Mapping[str, Any]) -> bytes:
    """Return all scores, of every frame too, with the weights and the protocol they are of."""
    weights = {name: {"origin": network.origin, "sha256": network.sha256()} for name, network in networks.items()}
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "protocol": dict(protocol),
        "weights": weights,
        "sets": [item.as_json() for item in sets],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

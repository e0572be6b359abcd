"""Whether one source trains on what another validates on, by the hashes that a prepared set holds of its frames.

Within a set `leitstand prepare` has seen to it. Sets of other origin hold no hashes, and cannot be checked. Never reads
a picture.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddp.vsr.prepare.selection.frame_hashes import HASHES_FILE, hashes_of_text
from ddp.vsr.prepare.selection.near_duplicates import Spot, matches_between
from service.errors import DatasetError, plain_reason

MANIFEST_FILE = "dataset.json"


@dataclass(frozen=True)
class Stretch:
    """Frames of a video that are on one side."""

    first_frame: int
    frame_count: int


def check_leakage(roots: Sequence[Path]) -> list[str]:
    """Compare every set's training with every other set's validation; return sentences about sets without hashes.

    Raises `DatasetError` if one shows what the other is validated on.
    """
    if len(roots) < 2:
        return []
    notices, sides = list[str](), dict[Path, dict[str, list[Spot]]]()
    for root in roots:
        try:
            sides[root] = _sides_of(root)
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            notices.append(
                f"{root} could not be checked for videos that another source validates on ({plain_reason(error)}): "
                "only sets made by `leitstand prepare` hold the hashes of their frames."
            )
    for root, own in sides.items():
        for other, others in sides.items():
            if root != other:
                _refuse(root, own["Patches"], other, others["Val"])
    return notices


def _sides_of(root: Path) -> dict[str, list[Spot]]:
    manifest = json.loads((root / MANIFEST_FILE).read_text(encoding="utf-8"))
    hashes: dict[str, Any] = json.loads((root / HASHES_FILE).read_text(encoding="utf-8"))["sources"]
    sides: dict[str, list[Spot]] = {"Patches": [], "Val": []}
    for source in manifest["sources"]:
        own = hashes_of_text(hashes[source["name"]])
        for scene in source["scenes"]:
            stretch = Stretch(int(scene["first_frame"]), int(scene["frame_count"]))
            if scene["side"] in sides and stretch.first_frame + stretch.frame_count <= len(own):
                sides[scene["side"]].append(Spot(source["name"], stretch, own))
    return sides


def _refuse(root: Path, training: Sequence[Spot], other: Path, validation: Sequence[Spot]) -> None:
    """Raise `DatasetError` for the first scenes that look alike."""
    for match in matches_between(training, validation):
        first, second = training[match.first].name, validation[match.second].name
        raise DatasetError(
            f"frame {match.first_frame} of {first}, on which {root} trains, looks like frame {match.second_frame} of "
            f"{second}, on which {other} validates: the network would be tested on what it has learnt; prepare both "
            "sets from one VIDEO_ROOT, or remove one of the two videos"
        )

"""Where the shipped weights are, and what their record says they are worth."""

import json
from pathlib import Path
from typing import Any

SHIPPED = "shipped"
"""What INIT_FROM and --from take for these weights; a file of this name is `./shipped`."""
FOLDER = Path(__file__).parent
WEIGHTS_FILE = FOLDER / "aligned-x3.safetensors"
RECORD_FILE = FOLDER / "aligned-x3.json"


def place_of(source: str | Path) -> Path:
    """Return the path that a person means by `source`: that of the shipped weights, or itself."""
    return WEIGHTS_FILE if str(source) == SHIPPED else Path(source)


def record() -> dict[str, Any]:
    """Return the record of the shipped weights."""
    content: dict[str, Any] = json.loads(RECORD_FILE.read_text(encoding="utf-8"))
    return content


def gain_sentence() -> str:
    """Return what they gain over bicubic enlargement, in dB of luma, on clips that they were not trained on."""
    gains = [clip["psnr_y_db"] - clip["bicubic_psnr_y_db"] for clip in record()["held_out"]]
    return (
        f"+{min(gains):.1f} to +{max(gains):.1f} dB over bicubic on clips they were not trained on, made small by "
        f"{record()['network']['degradation']}"
    )

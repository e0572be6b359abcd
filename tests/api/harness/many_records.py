"""A run directory with as many records as a long run leaves, made in seconds: one record, varied in its step."""

import json
from collections.abc import Iterable
from pathlib import Path

from service.run.record import encode_record, record_name
from tests.api.harness.example_run import example_record

STEP_EVERY = 500
_PLACE = 123_456_789
_SCORES = {
    "psnr_lr_db": 31.42, "psnr_ki_db": 33.87, "ssim_lr": 0.8421, "ssim_ki": 0.8702, "quality_lr": 0.6412,
    "quality_ki": 0.7034,
}  # fmt: skip


def write_many_records(root: Path, steps: Iterable[int], *, images: int = 1) -> int:
    """Write a whole record for each step; its size grows by 200 bytes an image. Returns how many there are."""
    root.mkdir(parents=True, exist_ok=True)
    before, after = _template(images)
    count = 0
    for step in steps:
        with (root / record_name(step)).open("wb", buffering=0) as file:
            file.write(before + b"%d" % step + after)
        count += 1
    return count


def _template(images: int) -> tuple[bytes, bytes]:
    """The bytes of a record before and after its step."""
    scores = [{"name": f"walk_{number:04d}", **_SCORES} for number in range(images)]
    record = example_record(_PLACE, 1_795_000_000.0, validation_images=scores, samples_seen=1)
    content = encode_record(record)
    assert content.count(str(_PLACE).encode()) == 1
    assert json.loads(content)["step_current"] == _PLACE
    before, _, after = content.partition(str(_PLACE).encode())
    return before, after

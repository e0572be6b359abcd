"""The default workload, which notes at every batch which modules its rank has imported: TEST_MODULES/<rank>."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ddp.vsr import workload
from ddp.vsr.patch_set import PatchSet
from ddp.workload import Batch, Share
from service.config.settings import RunConfig


class NotingWorkload(workload.VideoSuperResolution):
    def batches(self, share: Share) -> Iterator[Batch]:
        for batch in super().batches(share):
            Path(os.environ["TEST_MODULES"], str(share.rank)).write_text("\n".join(sys.modules))
            yield batch


def build(config: RunConfig) -> NotingWorkload:
    halves = (PatchSet.open(config.dataset_root, half, config.n_frames, config.scale) for half in ("Patches", "Val"))
    return NotingWorkload(config, *halves)

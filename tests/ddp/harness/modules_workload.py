"""The default workload, which notes at every batch which modules its rank has imported: TEST_MODULES/<rank>."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ddp.vsr import workload
from ddp.vsr.feeding.training_data import open_training_data
from ddp.workload import Batch, Share
from service.config.settings import RunConfig


class NotingWorkload(workload.VideoSuperResolution):
    def batches(self, share: Share) -> Iterator[Batch]:
        for batch in super().batches(share):
            Path(os.environ["TEST_MODULES"], str(share.rank)).write_text("\n".join(sys.modules))
            yield batch


def build(config: RunConfig) -> NotingWorkload:
    return NotingWorkload(config, open_training_data(config))

"""Every rank validates the same random network once; rank 0 prints the result. Started by torchrun in a test."""

import json
import sys
from pathlib import Path

import torch

from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from ddp.validation.evaluation import validate
from ddp.validation.image_scores import Networks
from ddp.vsr.workload import build
from service.config.settings import RunConfig


def main() -> None:
    config = RunConfig(dataset_root=Path(sys.argv[1]), n_feats=4, n_blocks=2, num_workers=0, batch_size=1)
    world = World.join(rank_environment(), "cpu", threads=1)
    workload = build(config)
    torch.manual_seed(0)
    model = workload.build_model()
    with torch.no_grad():
        for parameter in model.parameters():  # the last layer starts at zero, which would make KI equal LR
            parameter.add_(0.02 * torch.randn_like(parameter))
    result = validate(
        world,
        workload,
        Networks(model, None, workload.build_loss()),
        preview_count=1,
        on_image=lambda: None,
        before_exchange=lambda: None,
        is_shutdown_requested=lambda: False,
    )
    if world.is_main and result is not None:
        report = result.report((0.6, 0.2, 0.2, 0.0))
        sys.stdout.write("RESULT " + json.dumps({**report, "previews": len(result.previews)}) + "\n")
    world.leave()


main()

#!/usr/bin/env bash
# torch 2.13.0 (CPU, gloo), DistributedDataParallel, model.eval() and torch.no_grad().
#
# Behaviour: a forward for evaluation, in eval() and under no_grad(), still broadcasts the buffers of rank 0: it is a collective,
#   and it overwrites the running statistics of BatchNorm on all other ranks.
# The good guess that was wrong: without training mode and without gradients there is nothing to synchronise, so a forward touches
#   no other rank; ranks may validate unequal numbers of pictures through the wrapped model, and their state is the same after it.
# Cause: the forward synchronises whenever broadcast_buffers is set and there are buffers; neither mode is asked.
# What helps: validate the wrapped module itself (ddp.module), so that ranks with unequal numbers of pictures wait for nobody and a
#   validation leaves a run's state, and its result, as they were.
#
# Output seen: "rank 1 after training: 0.2; after its evaluation by ddp.module: 0.2; after its evaluation by ddp: 0.1"
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5

cat > "$folder/evaluate.py" <<'PYTHON'
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
ddp = DistributedDataParallel(torch.nn.BatchNorm1d(1))
ddp(torch.full((4, 1), float(dist.get_rank() + 1)))
seen = [ddp.module.running_mean.item()]
ddp.eval()
with torch.no_grad():
    for model in (ddp.module, ddp):
        model(torch.ones(4, 1))
        seen.append(ddp.module.running_mean.item())
if dist.get_rank() == 1:
    words = ("after training", "after its evaluation by ddp.module", "after its evaluation by ddp")
    print("rank 1", "; ".join(f"{word}: {mean:.1f}" for word, mean in zip(words, seen)))
dist.destroy_process_group()
PYTHON
"$folder/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node=2 "$folder/evaluate.py" | tee "$folder/output"
expected="rank 1 after training: 0.2; after its evaluation by ddp.module: 0.2; after its evaluation by ddp: 0.1"
[[ "$(cat "$folder/output")" == "$expected" ]]

#!/usr/bin/env bash
# torch 2.13.0 (CPU, gloo), torch.distributed.all_reduce with ReduceOp.MAX and ReduceOp.MIN.
#
# Behaviour: a NaN that one rank brings may be gone from the result. Of a buffer of four equal values, in which one rank has only
#   NaN, some places of the maximum are NaN and the others are numbers, on all ranks alike; on three ranks a NaN of rank 2 leaves
#   no trace at all in so short a buffer.
# The good guess that was wrong: the maximum over ranks of gradient norms or losses is NaN as soon as one rank's is, as
#   torch.max and torch.maximum promise for tensors; so one all_reduce(MAX) would do as an alarm for values that are not finite.
# Cause: the comparison "a < b ? b : a" keeps its first operand when either is NaN, and which rank's value comes first depends on
#   the place in the buffer (the ring begins each part at another rank).
# What helps: a sum (NaN + x is NaN), or the maximum of a flag "not finite" made from 0 and 1.
#
# Output seen:
#   2 ranks, NaN on rank 0, MAX: [nan, nan, 2.0, 2.0]
#   2 ranks, NaN on rank 1, MAX: [1.0, 1.0, nan, nan]
#   3 ranks, NaN on rank 2, MAX: [2.0, 2.0, 2.0, 2.0]
#   3 ranks, NaN on rank 2, MIN: [1.0, 1.0, 2.0, 2.0]
# Exits 0 while a NaN can vanish so, 1 when every place of every result is NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy

cat >"$folder/reduce.py" <<'PYTHON'
"""Reduce four values, which are NaN on one rank in turn, and print what rank 0 has then."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
for operation in ("MAX", "MIN"):
    for bad in range(ranks):
        values = torch.full((4,), float("nan") if rank == bad else 1.0 + rank)
        dist.all_reduce(values, op=getattr(dist.ReduceOp, operation))
        if rank == 0:
            print(f"{ranks} ranks, NaN on rank {bad}, {operation}: {values.tolist()}", flush=True)
dist.destroy_process_group()
PYTHON

for ranks in 2 3; do
  OMP_NUM_THREADS=1 "$folder/venv/bin/torchrun" --standalone --nproc-per-node="$ranks" "$folder/reduce.py" 2>/dev/null
done | tee "$folder/output"
[[ $(wc -l <"$folder/output") -eq 10 ]] # 2 + 3 ranks, two operations
! grep -qv '\[nan, nan, nan, nan\]' "$folder/output" && { echo "NaN reaches every place now."; exit 1; }
grep -q '3 ranks, NaN on rank 2, MAX: \[2.0, 2.0, 2.0, 2.0\]' "$folder/output"

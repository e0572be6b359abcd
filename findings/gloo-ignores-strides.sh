#!/usr/bin/env bash
# torch 2.13.0 (CPU, gloo), collectives on tensors that are not contiguous.
#
# Behaviour: all_reduce and broadcast take as many numbers as the tensor has, from where it begins in memory, and pay no heed to
#   its strides. all_reduce of the column m[:, 0] adds up the first numbers of m row by row and leaves the rest of the column as it
#   was; broadcast into a column overwrites numbers of the other column; and when one rank's tensor is channels-last and the
#   other's is not, numbers of different pixels are added. No error, no warning. send refuses the same column with "input tensor
#   has to be contiguous", and all_gather copies it rightly.
# The good guess that was wrong: a collective either respects the strides, as every other operation on tensors does, or says that
#   it wants a contiguous tensor, as send does.
# What helps: .contiguous() before, and copy_() back after; never pass a view, a transposed or a channels-last tensor.
#
# Output seen:
#   all_reduce of m[:, 0] of [[0, 1], [2, 3], [4, 5], [6, 7]]: [[0, 2], [4, 6], [4, 5], [6, 7]]
#   broadcast of m[:, 1] = [1, 3, 5, 7] into zeros: [[0, 1], [2, 3], [4, 0], [0, 0]]
#   all_reduce, channels-last on rank 0 alone, of 0..7: [0, 3, 6, 9, 5, 8, 11, 14] instead of [0, 2, 4, 6, 8, 10, 12, 14]
#   send of m[:, 1]: input tensor has to be contiguous
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy

cat >"$folder/strides.py" <<'PYTHON'
"""Give gloo a column of a matrix and pictures of two layouts; print what becomes of them."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()


def say(reader: int, text: str, numbers: torch.Tensor) -> None:
    if rank == reader:
        print(f"{text}: {numbers.int().tolist()}", flush=True)
    dist.barrier()


matrix = torch.arange(8.0).reshape(4, 2)
dist.all_reduce(matrix[:, 0])
say(0, "all_reduce of m[:, 0]", matrix)

matrix = torch.arange(8.0).reshape(4, 2) if rank == 0 else torch.zeros(4, 2)
dist.broadcast(matrix[:, 1], src=0)
say(1, "broadcast of m[:, 1]", matrix)

picture = torch.arange(8.0).reshape(1, 2, 2, 2)
if rank == 0:
    picture = picture.contiguous(memory_format=torch.channels_last)
dist.all_reduce(picture)
say(0, "all_reduce, channels-last on rank 0", picture.flatten())

if rank == 0:
    try:
        dist.send(torch.arange(8.0).reshape(4, 2)[:, 1], dst=1)
    except RuntimeError as error:
        print(f"send of m[:, 1]: {error}", flush=True)
dist.destroy_process_group()
PYTHON

OMP_NUM_THREADS=1 "$folder/venv/bin/torchrun" --standalone --nproc-per-node=2 "$folder/strides.py" 2>/dev/null | tee "$folder/output"
grep -qF 'all_reduce of m[:, 0]: [[0, 2], [4, 6], [4, 5], [6, 7]]' "$folder/output"
grep -qF 'broadcast of m[:, 1]: [[0, 1], [2, 3], [4, 0], [0, 0]]' "$folder/output"
grep -qF 'send of m[:, 1]: input tensor has to be contiguous' "$folder/output"
! grep -qF 'channels-last on rank 0: [0, 2, 4, 6, 8, 10, 12, 14]' "$folder/output"

#!/usr/bin/env bash
# torch 2.13.0 (CPU), torch.randn and Tensor.normal_ with a seeded generator.
#
# Behaviour: the first n values of randn(m) are those of randn(n) only where both n and m are multiples of 16. randn(20) and
#   randn(64) of one seed share their first 4 values; randn(15) and randn(16) share none. rand, by contrast, gives the same
#   beginning at every length.
# The good guess that was wrong: a generator of one seed gives one stream, of which a longer tensor takes more; so the noise for a
#   smaller picture, for fewer pictures in the last batch, or for one rank's share is a prefix of the noise for the whole.
# Cause: from 16 values on, they are made in blocks of 16, of which place i and i + 8 are made from one pair of uniform numbers;
#   where the length is no multiple of 16, the last 16 values are made anew. Below 16 another path is taken.
# What helps: draw noise for one picture at its full size from a generator of its own (seed, epoch, index), and cut afterwards.
#
# Output seen: "rand 20 of 64: 20 equal; randn 16 of 64: 16; randn 20 of 64: 4; randn 15 of 16: 0"
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy

"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/output"
import torch


def equal(draw, few, many):
    first = draw(few, generator=torch.Generator().manual_seed(0))
    return int((first == draw(many, generator=torch.Generator().manual_seed(0))[:few]).sum())


print(
    f"rand 20 of 64: {equal(torch.rand, 20, 64)} equal; randn 16 of 64: {equal(torch.randn, 16, 64)}; "
    f"randn 20 of 64: {equal(torch.randn, 20, 64)}; randn 15 of 16: {equal(torch.randn, 15, 16)}"
)
PYTHON
[[ "$(cat "$folder/output")" == "rand 20 of 64: 20 equal; randn 16 of 64: 16; randn 20 of 64: 4; randn 15 of 16: 0" ]]

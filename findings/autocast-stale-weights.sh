#!/usr/bin/env bash
# torch 2.13.0 (CPU), torch.autocast("cpu", dtype=torch.bfloat16).
#
# Behaviour: within one autocast block a network computes with the weights of its first forward for ever. Optimizer steps,
#   copy_() (as when averaged weights are put in for a validation) and load_state_dict() in between change the weights, and no
#   later output of the block; a training of four steps under one block gives the same output four times. So does a block under
#   no_grad(). Under inference_mode() the new weights are used, and so they are once the block has ended.
# The good guess that was wrong: autocast rounds the weights that a layer has at the moment it is called; whether the block stands
#   around one forward or around the whole loop is a matter of style.
# Cause: the bfloat16 copy of every leaf that requires a gradient is kept until the outermost autocast block ends, by the identity
#   of the tensor and not by its version.
# What helps: a block around each forward; or torch.autocast(…, cache_enabled=False), which rounds anew each time.
#
# Output seen:
#   one block, outputs: 1.0 1.0 1.0 1.0; weights after each step: 0.75 0.5 0.25 0.0
#   one block under no_grad, before and after load_state_dict: 1.0 1.0
#   one block under inference_mode, before and after: 1.0 5.0
#   a block for each step, outputs: 1.0 0.75 0.5 0.25
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy

"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/output"
from contextlib import nullcontext

import torch
from torch import nn


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def layer():
    made = nn.Linear(1, 1, bias=False)
    nn.init.ones_(made.weight)
    return made


def train(outer, inner):
    network, seen, weights = layer(), [], []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.25)
    with outer():
        for _ in range(4):
            optimizer.zero_grad()
            with inner():
                output = network(torch.ones(1, 1))
            output.sum().backward()
            optimizer.step()
            seen.append(output.item())
            weights.append(network.weight.item())
    return " ".join(map(str, seen)), " ".join(map(str, weights))


def around_load(mode):
    network = layer()
    with mode(), autocast():
        before = network(torch.ones(1, 1)).item()
        network.load_state_dict({"weight": torch.tensor([[5.0]])})
        return f"{before} {network(torch.ones(1, 1)).item()}"


outputs, weights = train(autocast, nullcontext)
print(f"one block, outputs: {outputs}; weights after each step: {weights}")
print(f"one block under no_grad, before and after load_state_dict: {around_load(torch.no_grad)}")
print(f"one block under inference_mode, before and after: {around_load(torch.inference_mode)}")
print(f"a block for each step, outputs: {train(nullcontext, autocast)[0]}")
PYTHON
diff "$folder/output" - <<'SEEN'
one block, outputs: 1.0 1.0 1.0 1.0; weights after each step: 0.75 0.5 0.25 0.0
one block under no_grad, before and after load_state_dict: 1.0 1.0
one block under inference_mode, before and after: 1.0 5.0
a block for each step, outputs: 1.0 0.75 0.5 0.25
SEEN

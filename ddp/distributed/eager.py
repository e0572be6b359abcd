"""DDP without TorchDynamo, the front end of torch.compile, which torch imports even if nothing is compiled.

`import torch._dynamo` costs every rank a second of CPU time and 70 MB of memory. Three things import it in torch 2.13:
`torch._compile._disable_dynamo`, which excludes a method from torch.compile; the wrapper of every optimizer's `step`,
which marks the end of a graph for torch.compile; and DDP's constructor, which reads torch.compile's settings. If
another version of torch differs, it imports torch._dynamo as usual, and nothing else changes.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

DYNAMO = "torch._dynamo"
_WRAPPERS = {("torch._compile", "inner"), ("torch.optim.optimizer", "_use_grad")}
"""Module and name of the wrapper functions."""


def without_dynamo(function: Any) -> Any:
    """Return the function inside one of these wrappers; any other function unchanged.

    For calls that torch.compile never sees. `_use_grad` also disables autograd, which the caller must do instead.
    """
    inner, code = getattr(function, "__wrapped__", None), getattr(function, "__code__", None)
    if inner is None or code is None or (function.__globals__["__name__"], code.co_name) not in _WRAPPERS:
        return function
    return inner


class _DynamoStub(ModuleType):
    """Stub for `torch._dynamo` or a submodule; imports the module when an unknown attribute is read."""

    def __getattr__(self, name: str) -> Any:
        vars(torch).pop("_dynamo", None)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def unloaded_dynamo() -> Iterator[None]:
    """Replace `torch._dynamo` within the block by a stub with the attributes that DDP's constructor reads.

    The stub has the default settings, which only code that has imported `torch._dynamo` can have changed.
    """
    if DYNAMO in sys.modules:
        yield
        return
    stub, utils_stub = _DynamoStub(DYNAMO), _DynamoStub(f"{DYNAMO}.utils")
    vars(utils_stub)["get_optimize_ddp_mode"] = lambda: "ddp_optimizer"
    vars(stub)["utils"] = utils_stub
    vars(torch)["_dynamo"] = stub
    try:
        yield
    finally:
        if vars(torch).get("_dynamo") is stub:
            del vars(torch)["_dynamo"]


def _without_dynamo_within(context: Callable[..., Any] | None) -> Any:
    """Apply `without_dynamo` to a method decorated with `contextlib.contextmanager`."""
    decorated = getattr(context, "__wrapped__", None)
    inner = without_dynamo(decorated)
    return context if inner is decorated else contextmanager(inner)


class EagerDDP(DistributedDataParallel):
    """DDP for a network that is not compiled, or compiled inside: torch.compile never sees this wrapper."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        with unloaded_dynamo():
            super().__init__(*arguments, **named)

    # Marks the active wrapper during each forward; torch has no public hook for it.
    _inside_ddp_forward = _without_dynamo_within(getattr(DistributedDataParallel, "_inside_ddp_forward", None))

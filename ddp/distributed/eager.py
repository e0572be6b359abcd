"""DDP without TorchDynamo, the front end of torch.compile, which torch imports even where nothing is compiled.

`import torch._dynamo` costs every rank a second of processor time and 70 MB of memory. Three things import it in torch
2.13: `torch._compile._disable_dynamo`, which keeps torch.compile out of a method; the wrapper of every optimizer's
`step`, which tells torch.compile where a graph ends; and DDP's constructor, which asks how torch.compile is set. Where
another version of torch does otherwise than is said here, it imports torch._dynamo as it always did, and nothing else
differs.
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
"""Module and name of the functions that the two wrappers put around another."""


def without_dynamo(function: Any) -> Any:
    """The function inside one of these wrappers; any other function as it is.

    For calls that torch.compile never sees. `_use_grad` switches autograd off, too: so must who takes it away.
    """
    inner, code = getattr(function, "__wrapped__", None), getattr(function, "__code__", None)
    if inner is None or code is None or (function.__globals__["__name__"], code.co_name) not in _WRAPPERS:
        return function
    return inner


class _Unloaded(ModuleType):
    """Stands for `torch._dynamo`, or a module of it, that nothing has imported: imports it when it knows no answer."""

    def __getattr__(self, name: str) -> Any:
        vars(torch).pop("_dynamo", None)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def unloaded_dynamo() -> Iterator[None]:
    """Within it, `torch._dynamo` need not be imported to answer what DDP's constructor asks it.

    The answer is that of the default settings. Nobody can have changed them who has not imported it.
    """
    if DYNAMO in sys.modules:
        yield
        return
    stand_in, questions = _Unloaded(DYNAMO), _Unloaded(f"{DYNAMO}.utils")
    vars(questions)["get_optimize_ddp_mode"] = lambda: "ddp_optimizer"
    vars(stand_in)["utils"] = questions
    vars(torch)["_dynamo"] = stand_in
    try:
        yield
    finally:
        if vars(torch).get("_dynamo") is stand_in:
            del vars(torch)["_dynamo"]


def _without_dynamo_within(context: Callable[..., Any] | None) -> Any:
    """The same for a method under `contextlib.contextmanager`."""
    decorated = getattr(context, "__wrapped__", None)
    inner = without_dynamo(decorated)
    return context if inner is decorated else contextmanager(inner)


class EagerDDP(DistributedDataParallel):
    """DDP around a network that is not compiled, or is compiled inside: torch.compile never sees this wrapper."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        with unloaded_dynamo():
            super().__init__(*arguments, **named)

    # Marks, around each forward, which wrapper is at work; torch has no public place for it.
    _inside_ddp_forward = _without_dynamo_within(getattr(DistributedDataParallel, "_inside_ddp_forward", None))

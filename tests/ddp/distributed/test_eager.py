"""DDP and optimizers that do not import TorchDynamo. `test_loaded_modules.py` has a whole training."""

import functools
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from ddp.distributed.eager import EagerDDP, without_dynamo


@pytest.mark.parametrize("name", ["add_param_group", "zero_grad", "state_dict", "load_state_dict", "step"])
def test_torchs_optimizer_has_the_wrappers_that_are_known_here(name: str) -> None:
    """Fails with a torch that does it otherwise: all works, but a start takes longer until `eager` knows how."""
    wrapped = getattr(torch.optim.Adam, name)

    assert without_dynamo(wrapped) is wrapped.__wrapped__


def test_torchs_ddp_has_the_wrapper_that_is_known_here() -> None:
    assert vars(EagerDDP)["_inside_ddp_forward"] is not vars(DistributedDataParallel)["_inside_ddp_forward"]


def plain() -> None:
    pass


@functools.wraps(plain)
def wrapped() -> None:
    """Wrapped, but not by torch."""


@pytest.mark.parametrize("function", [plain, wrapped, contextmanager(plain), len, None])
def test_any_other_function_stays_as_it_is(function: Callable[..., Any] | None) -> None:
    assert without_dynamo(function) is function


PROGRAM = """
import sys
import torch
from ddp.distributed.eager import unloaded_dynamo

def mode(): return torch._dynamo.utils.get_optimize_ddp_mode()

with unloaded_dynamo():
    print(mode(), "torch._dynamo" in sys.modules)
print("_dynamo" in vars(torch))
with unloaded_dynamo():
    print(torch._dynamo.config.optimize_ddp, torch._dynamo.utils.istype(1, int))
    print(torch._dynamo is sys.modules["torch._dynamo"])
print(torch._dynamo is sys.modules["torch._dynamo"], mode())
torch._dynamo.config.optimize_ddp = "python_reducer"
with unloaded_dynamo():
    print(mode())
"""


def test_ddp_is_answered_as_by_the_module_and_any_other_question_imports_it() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert answer.stdout.splitlines() == [
        "ddp_optimizer False",  # what the module itself says below
        "False",
        "True True",
        "True",
        "True ddp_optimizer",
        "python_reducer",
    ]

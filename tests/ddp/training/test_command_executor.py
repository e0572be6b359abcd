"""The execution of agreed commands: none is forgotten, and their order is that of their kinds."""

import inspect
import re

from ddp.training.command_executor import CommandExecutor
from service.commands import Kind


def test_every_kind_is_executed_in_the_order_of_the_kinds() -> None:
    named = re.findall(r"CommandBits\.([A-Z]+)", inspect.getsource(CommandExecutor.execute))

    executed = [name for name in dict.fromkeys(named) if name != "LEAVE"]
    assert set(executed) == {kind.name for kind in Kind}
    # A control word holds one of these two, so they share a place.
    assert [name for name in executed if name != "RESUME"] == [kind.name for kind in Kind if kind is not Kind.RESUME]

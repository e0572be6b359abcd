"""Commands on their way from the store into the queue, while the connection to the store is lost at bad times."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ddp.control.command_poller import CommandPoller
from ddp.control.command_queue import CommandQueue
from service.commands import CommandState, Kind
from service.store.queries.commands import CommandQueries
from service.store.store import Store, StoreUnavailableError

RUN = "run0"


class ForgetfulQueries(CommandQueries):
    """The first beginning of a command is kept or not, and nobody hears which."""

    is_kept = True
    has_lost = False

    def begin(self, command_id: str) -> bool:
        if self.has_lost:
            return super().begin(command_id)
        self.has_lost = True
        if self.is_kept:
            super().begin(command_id)
        raise StoreUnavailableError("connection lost")


class ForgetfulStore(Store):
    """A store whose commands are begun with `ForgetfulQueries`."""

    def __init__(self, location: Path | str) -> None:
        super().__init__(location, create=True, keep_open=True)
        self.commands = self.forgetful = ForgetfulQueries(self)


@pytest.fixture
def store(location: Path | str) -> Iterator[ForgetfulStore]:
    with closing(ForgetfulStore(location)) as store:
        store.open_run(RUN, {})
        yield store


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_command_whose_beginning_nobody_heard_of_is_carried_out_once(
    store: ForgetfulStore, is_kept: bool, eventually: Callable[..., None]
) -> None:
    store.forgetful.is_kept = is_kept
    first, second = (
        store.commands.submit(RUN, kind, {}, actor="me", source="api") for kind in (Kind.PAUSE, Kind.VALIDATE)
    )
    command_queue = CommandQueue()
    command_poller = CommandPoller(store, RUN, command_queue)

    with pytest.raises(StoreUnavailableError):
        command_poller.poll(1)
    taken: list[str] = []

    def both_taken() -> bool:
        command_poller.poll(1)  # a server's notification of what was written may still be on its way
        taken.extend(command.id for command in command_queue.take_all())
        return len(taken) >= 2

    eventually(both_taken, what="both commands")
    assert taken == [first.id, second.id]
    assert [command.state for command in store.commands.find(RUN)] == [CommandState.RUNNING] * 2


def test_a_command_that_was_cancelled_meanwhile_is_not_carried_out(store: ForgetfulStore) -> None:
    store.forgetful.is_kept = False
    command, command_queue = store.commands.submit(RUN, Kind.PAUSE, {}, actor="me", source="api"), CommandQueue()
    command_poller = CommandPoller(store, RUN, command_queue)
    with pytest.raises(StoreUnavailableError):
        command_poller.poll(1)
    store.commands.cancel(command.id, "by eva")

    command_poller.poll(1)

    assert command_queue.take_all() == []

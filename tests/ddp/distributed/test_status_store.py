"""The board between real processes, and what becomes of it when the store goes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddp.distributed import status_store as board_module
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.status_store import LocalStatusStore, StatusStoreUnavailableError
from ddp.distributed.world import World
from tests.ddp.harness.launching import Launch, torchrun
from tests.ddp.harness.store_serving import ServeStore, store_board


def test_a_world_without_groups_has_a_board_of_its_own() -> None:
    status_store = World(RankEnvironment(), torch.device("cpu")).status_store()
    assert status_store.read_all() == [None]

    status_store.publish("alone")

    assert isinstance(status_store, LocalStatusStore)
    assert status_store.read_all() == ["alone"]


def test_ranks_read_each_other_while_a_collective_hangs(launch: Launch, tmp_path: Path) -> None:
    process = launch(torchrun(2, "-m", "tests.ddp.harness.rank_programs.post_on_board"))

    assert process.wait(timeout=120) == 0
    assert "READ [None, 'rank 1 hangs']" in (tmp_path / "output.txt").read_text()


def test_each_rank_has_the_text_that_it_posted_last(serving_store: ServeStore) -> None:
    with serving_store() as server:
        first, second = (store_board(server.port, rank, size=3) for rank in (0, 1))
        first.publish("one")
        second.publish("two")
        first.publish("one, later; über")

        assert first.read_all() == second.read_all() == ["one, later; über", "two", None]


def test_an_order_reaches_every_rank(serving_store: ServeStore) -> None:
    with serving_store() as server:
        one, other = (store_board(server.port, rank, 2) for rank in (0, 1))
        assert other.read_order() is None

        one.give_order("leave")

        assert (one.read_order(), other.read_order()) == ("leave", "leave")
        assert one.read_all() == [None, None]


def test_a_rank_that_never_posted_is_not_waited_for(serving_store: ServeStore) -> None:
    with serving_store() as server:
        assert store_board(server.port, rank=0, size=2).read_all() == [None, None]


def test_a_store_that_dies_is_one_kind_of_error_and_is_not_asked_again_at_once(
    serving_store: ServeStore, eventually: Callable[..., None]
) -> None:
    with serving_store() as server:
        status_store = store_board(server.port, rank=0, size=1)
        status_store.publish("here")
        server.process.kill()
        server.process.wait()

        def is_gone() -> bool:
            try:
                status_store.read_all()
            except StatusStoreUnavailableError:
                return True
            return False

        eventually(is_gone)

    with serving_store(server.port), pytest.raises(StatusStoreUnavailableError):
        status_store.publish("again")


def test_an_orphan_asks_no_store(serving_store: ServeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_store() as server:
        board = store_board(server.port, rank=0, size=1)
        board.publish("here")
        monkeypatch.setattr("os.getppid", lambda: 1)
        with pytest.raises(StatusStoreUnavailableError, match="the launcher has ended"):
            board.publish("there")
        monkeypatch.undo()

        assert board.read_all()[0] == "here"


def test_a_store_that_comes_back_is_found_again(
    serving_store: ServeStore, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr(board_module, "RETRY_SECONDS", 0.0)
    with serving_store() as server:
        status_store = store_board(server.port, rank=0, size=2)
        status_store.publish("here")
        store_board(server.port, rank=1, size=2).publish("here too")
        assert status_store.read_all() == ["here", "here too"]

    def has_posted() -> bool:
        try:
            status_store.publish("back")
            return status_store.read_all() == ["back", None]
        except StatusStoreUnavailableError:
            return False

    with serving_store(server.port):
        eventually(has_posted)


def test_waiting_for_a_frozen_store_leaves_other_threads_alone(serving_store: ServeStore) -> None:
    """Torch's client must not hold the interpreter's lock while it waits."""
    answers: list[object] = []
    with serving_store() as server:
        status_store = store_board(server.port, rank=0, size=1)
        status_store.publish("here")
        server.freeze()
        reader = threading.Thread(target=lambda: answers.append(status_store.read_all()), daemon=True)
        reader.start()
        try:
            reader.join(0.3)  # this thread runs on meanwhile, or the test would never end
            assert answers == []
        finally:
            server.thaw()
        reader.join()

    assert answers == [["here"]]

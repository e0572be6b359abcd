"""Commands between the recorder thread and the step boundary; agreement itself is tested with real ranks."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ddp.control import agreement as control_module
from ddp.control.agreement import RankAgreement
from ddp.control.command_poller import LEAD_SECONDS
from ddp.control.command_queue import CommandQueue
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import PendingAgreement, World
from service.commands import Command, CommandBits, CommandState, Kind


def command(kind: Kind) -> Command:
    return Command(
        id=kind.value, run_id="run", kind=kind, state=CommandState.RUNNING, actor="me", source="api", created_at=0.0,
        arguments={},
    )  # fmt: skip


def inbox_with(*kinds: Kind) -> CommandQueue:
    command_queue = CommandQueue()
    for kind in kinds:
        command_queue.put(command(kind))
    return command_queue


def world_of_one() -> World:
    return World(RankEnvironment(), torch.device("cpu"))


class CountingWorld(World):
    """A world of one that counts the words that are sent."""

    def __init__(self) -> None:
        super().__init__(RankEnvironment(), torch.device("cpu"))
        self.sent = 0

    def agree(self, first: int, second: int) -> PendingAgreement:
        self.sent += 1
        return super().agree(first, second)


def kinds(commands: list[Command]) -> list[Kind]:
    return [item.kind for item in commands]


def test_one_boundary_takes_all_commands_that_go_together() -> None:
    command_queue = inbox_with(Kind.VALIDATE, Kind.VALIDATE, Kind.PAUSE, Kind.CHECKPOINT)

    assert kinds(command_queue.take(1)) == [Kind.VALIDATE, Kind.VALIDATE, Kind.PAUSE, Kind.CHECKPOINT]


def test_a_contradiction_waits_for_the_next_boundary_so_that_order_is_kept() -> None:
    command_queue = inbox_with(Kind.PAUSE, Kind.RESUME, Kind.PAUSE)

    assert [kinds(command_queue.take(1)) for _ in range(4)] == [[Kind.PAUSE], [Kind.RESUME], [Kind.PAUSE], []]


def test_nothing_is_taken_after_a_stop() -> None:
    command_queue = inbox_with(Kind.STOP, Kind.VALIDATE)

    assert kinds(command_queue.take(1)) == [Kind.STOP]
    assert kinds(command_queue.take_all()) == [Kind.VALIDATE]


def test_a_word_carries_every_operation_and_the_wish_to_leave() -> None:
    control = RankAgreement(world_of_one(), inbox_with(Kind.VALIDATE, Kind.STOP), lambda: True, first_check_step=1)

    control.send(1)
    turn = control.receive()

    assert turn.operations == CommandBits.VALIDATE | CommandBits.STOP | CommandBits.LEAVE
    assert kinds(list(turn.of(Kind.STOP))) == [Kind.STOP]


def test_a_rollback_goes_first_and_alone() -> None:
    """What else is due at its step comes when the run, set back, passes that step again."""
    command_queue = inbox_with(Kind.VALIDATE, Kind.ROLLBACK, Kind.SET)

    assert kinds(command_queue.take(7)) == [Kind.ROLLBACK]
    assert kinds(command_queue.take(3)) == [Kind.VALIDATE, Kind.SET]
    assert kinds(inbox_with(Kind.PAUSE, Kind.STOP, Kind.ROLLBACK).take(7)) == [Kind.PAUSE, Kind.STOP]


def test_a_command_waits_for_its_own_step_and_is_missed_after_it() -> None:
    command_queue = CommandQueue()
    for step in (5, 9):
        command_queue.put(replace(command(Kind.VALIDATE), apply_at_step=step))

    assert command_queue.next_step(3) == 5
    assert command_queue.take(4) == []
    assert [item.apply_at_step for item in command_queue.take(5)] == [5]
    assert command_queue.next_step(5) == 9
    assert [item.apply_at_step for item in command_queue.take_missed(10)] == [9]
    assert command_queue.take_all() == []


def test_a_check_is_never_later_than_the_step_a_command_waits_for() -> None:
    command_queue = CommandQueue()
    control = RankAgreement(world_of_one(), command_queue, lambda: False, first_check_step=1)
    control.send(1)
    control.receive()
    command_queue.put(replace(command(Kind.PAUSE), apply_at_step=400))
    checked = []
    for step in range(2, 500):
        control.send(step)
        turn = control.receive()
        checked += [step] if turn.operations else []

    assert checked == [400]


def test_steps_between_two_checks_send_nothing() -> None:
    command_queue = CommandQueue()
    control = RankAgreement(world_of_one(), command_queue, lambda: False, first_check_step=10)
    command_queue.put(command(Kind.VALIDATE))

    control.send(9)
    before = control.receive()
    control.send(10)

    assert before.operations == CommandBits.NONE
    assert control.receive().operations == CommandBits.VALIDATE


def test_checks_of_fast_steps_are_spread_over_at_least_a_sixteenth_of_a_second() -> None:
    world = CountingWorld()
    control = RankAgreement(world, CommandQueue(), lambda: False, first_check_step=1)
    for step in range(1, 2000):
        control.send(step)
        control.receive()

    assert world.sent < 40  # two thousand steps of some microseconds


def test_slower_steps_are_checked_no_more_than_sixteen_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: 0.04 * step)
    step = 1
    monkeypatch.setattr(control_module, "time", clock)
    world = CountingWorld()
    control = RankAgreement(world, CommandQueue(), lambda: False, first_check_step=1)
    checks = []
    for step in range(1, 40):
        before = world.sent
        control.send(step)
        checks += [step] if world.sent > before else []
        control.receive()

    assert checks[3:] == list(range(checks[3], 40, 2))  # of steps that take 0.04 s, every second one


def test_a_paused_rank_gets_a_command_at_once() -> None:
    control = RankAgreement(world_of_one(), inbox_with(Kind.RESUME), lambda: False, first_check_step=100)

    assert control.wait(5).operations == CommandBits.RESUME


def test_commands_of_a_word_that_never_came_back_wait_again_in_their_order() -> None:
    command_queue = inbox_with(Kind.VALIDATE, Kind.PAUSE)
    agreement = RankAgreement(world_of_one(), command_queue, lambda: False, first_check_step=1)
    agreement.send(1)
    assert command_queue.take(1) == []

    agreement.put_back()

    assert kinds(command_queue.take(1)) == [Kind.VALIDATE, Kind.PAUSE]
    agreement.put_back()
    assert command_queue.take(1) == []


class SlowWorld(CountingWorld):
    """A world in which each word takes so long, by a clock that only this and steps move."""

    def __init__(self, word_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now, self.word_seconds = 0.0, word_seconds
        monkeypatch.setattr(control_module.time, "monotonic", lambda: self.now)

    def agree(self, first: int, second: int) -> PendingAgreement:
        pending = super().agree(first, second)
        result = pending.result

        def wait() -> tuple[int, int]:
            self.now += self.word_seconds
            return result()

        pending.result = wait  # type: ignore[method-assign]
        return pending

    def words_in(self, steps: int, step_seconds: float) -> int:
        agreement = RankAgreement(self, CommandQueue(), lambda: False, first_check_step=1)
        for step in range(1, steps + 1):
            self.now += step_seconds
            agreement.send(step)
            agreement.receive()
        return self.sent


def test_words_that_take_long_are_sent_so_seldom_that_they_take_a_small_share(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SlowWorld(0.02, monkeypatch)

    words = world.words_in(4000, 0.05)

    assert 0.5 * control_module.WAIT_SHARE < 0.02 * words / world.now < 1.1 * control_module.WAIT_SHARE


def test_words_that_take_little_are_sent_in_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SlowWorld(0.0005, monkeypatch).words_in(200, 0.1) == 200


def test_however_long_words_take_they_come_before_a_command_has_missed_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step_seconds = 0.1

    words = SlowWorld(30.0, monkeypatch).words_in(1000, step_seconds)

    assert words * LEAD_SECONDS > 1000 * step_seconds


def test_a_rank_that_came_late_does_not_make_words_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest of the last waits counts: a long one among short ones has another reason."""
    world = SlowWorld(0.0, monkeypatch)
    slow = iter([5.0 if number % 3 == 0 else 0.0 for number in range(1000)])
    plain = world.agree

    def agree(first: int, second: int) -> PendingAgreement:
        world.word_seconds = next(slow)
        return plain(first, second)

    monkeypatch.setattr(world, "agree", agree)

    assert world.words_in(100, 0.1) == 100

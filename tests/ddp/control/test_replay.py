"""Which interventions of a file are due where, and what cannot be repeated from where a run stands."""

from collections.abc import Iterable

import pytest

from ddp.control.replay import Replay
from service.commands import Kind
from service.errors import SettingError
from service.run.records.provenance.replay.file import Intervention, Position, ReplayFile

START = Position(0, 0)


def item(kind: Kind, branch: int, step: int, **arguments: object) -> Intervention:
    return Intervention(kind, Position(branch, step), arguments)


def file_of(*items: Intervention, begin: Position = START) -> ReplayFile:
    return ReplayFile("r1", begin, Position(1, 60), items)


def a_file() -> ReplayFile:
    """A change, a rollback from step 12 to 5, and two changes on the branch that it begins."""
    return file_of(
        item(Kind.SET, 0, 4, LR_SCALE=0.5),
        item(Kind.CHECKPOINT, 0, 5),
        item(Kind.ROLLBACK, 0, 12, checkpoint="step_0000005"),
        item(Kind.VALIDATE, 1, 5),
        item(Kind.SET, 1, 14, LR_SCALE=1.0),
    )


def due(replay: Replay, branch: int, steps: Iterable[int]) -> list[tuple[int, Kind]]:
    """What is due at these steps, and at which of them."""
    found = []
    for step in steps:
        while (taken := replay.take(branch, step)) is not None:
            found.append((step, taken.kind))
    return found


def test_everything_is_due_once_at_its_step_of_its_branch() -> None:
    replay = Replay(a_file())
    replay.begin(START, None, frozenset())

    assert due(replay, 0, range(1, 13)) == [(4, Kind.SET), (5, Kind.CHECKPOINT), (12, Kind.ROLLBACK)]
    replay.note_rollback(0, 12, 5)
    assert due(replay, 1, range(5, 61)) == [(5, Kind.VALIDATE), (14, Kind.SET)]
    assert replay.remaining == 0


def test_a_rollback_that_the_original_made_by_itself_is_waited_for_and_not_made() -> None:
    automatic = Intervention(Kind.ROLLBACK, Position(0, 12), {"checkpoint": "step_0000005"}, is_automatic=True)
    replay = Replay(file_of(item(Kind.CHECKPOINT, 0, 5), automatic, item(Kind.SET, 1, 6, LR_SCALE=0.5)))
    replay.begin(START, None, frozenset())

    assert due(replay, 0, range(1, 13)) == [(5, Kind.CHECKPOINT)]
    replay.note_rollback(0, 12, 5)
    assert due(replay, 1, range(5, 61)) == [(6, Kind.SET)]


@pytest.mark.parametrize(("from_step", "to_step"), [(11, 5), (12, 10)])
def test_a_rollback_that_the_original_did_not_make_ends_the_replay(from_step: int, to_step: int) -> None:
    replay = Replay(a_file())
    replay.begin(START, None, frozenset())

    replay.note_rollback(0, from_step, to_step)

    assert due(replay, 1, range(5, 61)) == []
    assert "nothing is repeated, because the run was rolled back" in str(replay.begin_details())
    resumed = Replay(a_file())
    resumed.begin(Position(1, 6), replay.state(), frozenset())
    assert due(resumed, 1, range(6, 61)) == []


def test_a_resumed_replay_goes_on_where_its_checkpoint_was_saved_and_does_nothing_twice() -> None:
    replay = Replay(a_file())
    replay.begin(START, None, frozenset())
    before = replay.state()
    assert due(replay, 0, [4]) == [(4, Kind.SET)]
    after = replay.state()

    for saved, expected in ((before, [(4, Kind.SET)]), (after, [])):
        resumed = Replay(a_file())
        resumed.begin(Position(0, 4), saved, frozenset())
        assert due(resumed, 0, [4]) == expected


def test_a_fork_of_the_original_begins_with_what_was_done_at_its_step() -> None:
    replay = Replay(a_file())
    replay.begin(Position(0, 4), None, frozenset({4}))

    assert due(replay, 0, [4]) == [(4, Kind.SET)]


def test_a_rollback_to_a_state_that_is_nowhere_is_refused_before_the_start() -> None:
    with pytest.raises(SettingError, match=r"rollback at step 12 returns to step 5, of which there is no checkpoint"):
        Replay(a_file()).begin(Position(0, 8), None, frozenset({8}))

    Replay(a_file()).begin(Position(0, 8), None, frozenset({5, 8}))
    Replay(a_file()).begin(Position(1, 8), None, frozenset({8}))  # the rollback is behind it


def test_a_run_that_stands_before_the_first_position_is_told_to_fork() -> None:
    late = file_of(item(Kind.VALIDATE, 0, 25), begin=Position(0, 20))

    with pytest.raises(SettingError, match=r"leitstand fork RUN NEW_FOLDER --checkpoint 20"):
        Replay(late).begin(START, None, frozenset())


def test_without_a_file_nothing_is_due_and_nothing_saved() -> None:
    replay = Replay()
    replay.begin(START, None, frozenset())
    replay.note_rollback(0, 12, 5)

    assert (replay.take(0, 4), replay.state(), replay.begin_details()) == (None, None, None)


def test_a_rank_that_survives_another_leaves_what_it_was_executing_to_the_next_start() -> None:
    replay = Replay(a_file())
    replay.begin(START, None, frozenset())
    assert replay.take(0, 4) is not None
    during = replay.state_before_current()
    assert replay.take(0, 4) is None
    afterwards = replay.state_before_current()

    assert afterwards == replay.state()
    for left, expected in ((during, [(4, Kind.SET)]), (afterwards, [])):
        after = Replay(a_file())
        after.begin(Position(0, 4), left, frozenset())
        assert due(after, 0, [4]) == expected

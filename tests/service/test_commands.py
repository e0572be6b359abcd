"""Kinds of commands, their bits, their states and their arguments."""

import json
import re
from functools import reduce
from operator import or_

import pytest

from service.commands import Command, CommandBits, CommandState, Kind, check_arguments
from service.errors import CommandError


def test_every_kind_has_a_bit_of_its_own() -> None:
    bits = [CommandBits.of(kind) for kind in Kind]

    assert len({int(bit) for bit in bits}) == len(bits)
    assert all(bit.bit_count() == 1 for bit in bits)
    assert CommandBits.LEAVE not in reduce(or_, bits)


@pytest.mark.parametrize("state", CommandState)
def test_all_states_but_two_are_final(state: CommandState) -> None:
    assert state.is_final == (state not in {CommandState.QUEUED, CommandState.RUNNING})


def test_bits_that_were_released_stay_what_they_are() -> None:
    assert [int(CommandBits.of(kind)) for kind in Kind] == [128, 64, 1, 2, 4, 256, 8, 16]
    assert CommandBits.LEAVE == 32


def test_no_arguments_are_the_only_ones() -> None:
    assert check_arguments(Kind.STOP, {}) == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "The body of stop must be a JSON object, but is list."),
        (None, "The body of stop must be a JSON object, but is NoneType."),
        ({"b": 1, "a": 2}, "stop takes no arguments, but got: a, b."),
    ],
)
def test_other_arguments_are_refused(arguments: object, sentence: str) -> None:
    with pytest.raises(CommandError) as wrong:
        check_arguments(Kind.STOP, arguments)

    assert str(wrong.value) == sentence


def test_settings_to_change_get_their_names_and_types() -> None:
    wanted = {
        "max_steps": "5000",
        " SAVE_STEP_EVERY": 50.0,
        "save_best": "no",
        "GRAD_CLIP": None,
        "L1_WEIGHT": "Adaptive",
    }

    assert check_arguments(Kind.SET, wanted) == {
        "MAX_STEPS": 5000, "CHECKPOINT_EVERY": 50, "SAVE_BEST": False, "INITIAL_GRAD_CLIP": "adaptive",
        "L1_WEIGHT": "adaptive",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, 'set takes at least one setting, such as {"LR_SCALE": 0.5}, but got none.'),
        ([1], "The body of set must be a JSON object, but is list."),
        ({"LR_SCALE": 101}, "LR_SCALE is 101.0, but must be between 0 and 100."),
        ({"GRAD_CLIP": 1, "INITIAL_GRAD_CLIP": 1}, "INITIAL_GRAD_CLIP is given twice; give it once."),
    ],
)
def test_settings_that_cannot_be_changed_so_are_refused(arguments: object, sentence: str) -> None:
    with pytest.raises(CommandError) as wrong:
        check_arguments(Kind.SET, arguments)

    assert str(wrong.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "latest"), ({"checkpoint": "latest"}, "latest"), ({"checkpoint": "best"}, "best"),
        ({"checkpoint": "500"}, "500"), ({"checkpoint": 500}, "500"), ({"checkpoint": 500.0}, "500"),
        ({"checkpoint": "step_0000500"}, "step_0000500"),
    ],
)  # fmt: skip
def test_a_rollback_names_a_checkpoint(arguments: dict[str, object], name: str) -> None:
    assert check_arguments(Kind.ROLLBACK, arguments) == {"checkpoint": name}


@pytest.mark.parametrize("given", ["", "../other", "step_500", "Latest", "5e2", -5, True, None, 1.5, [], "9" * 19])
def test_a_rollback_to_what_is_no_checkpoints_name_is_refused(given: object) -> None:
    with pytest.raises(CommandError, match="must be latest, best, a step") as wrong:
        check_arguments(Kind.ROLLBACK, {"checkpoint": given})

    assert repr(given) in str(wrong.value)


def test_a_rollback_takes_nothing_else() -> None:
    with pytest.raises(CommandError, match="rollback takes only `checkpoint`, but got: lr, step"):
        check_arguments(Kind.ROLLBACK, {"step": 5, "lr": 1, "checkpoint": "best"})


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"clip": "street.mp4"}, ("street.mp4", 0, 1)),
        ({"clip": "day 1/räder", "frame": 5.0, "frames": 48}, ("day 1/räder", 5, 48)),
        ({"clip": "a..b/c...png", "frame": 10**6}, ("a..b/c...png", 10**6, 1)),
    ],
)
def test_a_preview_names_a_part_of_a_clip(arguments: dict[str, object], part: tuple[str, int, int]) -> None:
    assert check_arguments(Kind.PREVIEW, arguments) == dict(zip(("clip", "frame", "frames"), part, strict=True))


@pytest.mark.parametrize(
    "clip",
    ["", "/etc/passwd", "../other.mp4", "a/../b.mp4", ".", "..", "a/.hidden/b.mp4", ".ssh/id", "a//b.mp4", "a/", "a\\b",
     "a\x00.mp4", "a\n.mp4", "x" * 501, "\udcff.mp4", "a\u202egnp.mp4", None, 5, ["a.mp4"]],
)  # fmt: skip
def test_a_preview_of_what_no_clip_can_be_called_is_refused(clip: object) -> None:
    with pytest.raises(CommandError, match="must be the name of a validation image, or of a video") as wrong:
        check_arguments(Kind.PREVIEW, {"clip": clip})

    assert len(str(wrong.value)) < 400


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"frame": -1}, "frame is -1, but must be a whole number from 0 to 1000000."),
        ({"frame": 0.5}, "frame is 0.5, but"),
        ({"frame": float("inf")}, "frame is inf, but"),
        ({"frames": 0}, "frames is 0, but must be a whole number from 1 to 48."),
        ({"frames": 49}, "frames is 49, but"),
        ({"frames": True}, "frames is True, but"),
        ({"frames": "2"}, "frames is '2', but"),
        ({"path": "/etc"}, "preview takes only `clip`, `frame` and `frames`, but got: path."),
    ],
)
def test_a_preview_of_what_is_no_part_of_a_clip_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(CommandError, match=re.escape(sentence)):
        check_arguments(Kind.PREVIEW, {"clip": "a.mp4", **arguments})


def test_a_command_is_shown_as_plain_json() -> None:
    command = Command(
        id="1", run_id="r", kind=Kind.VALIDATE, state=CommandState.DONE, actor="eva", source="cli", created_at=1.0,
        arguments={}, started_at=2.0, finished_at=3.0, step=4, result={"record": "Statistik_4.json"},
        apply_at_step=3, expires_at=9.5, why="to compare",
    )  # fmt: skip

    assert json.loads(json.dumps(command.as_dict())) == {
        "id": "1", "run_id": "r", "kind": "validate", "state": "done", "actor": "eva", "source": "cli",
        "created_at": 1.0, "apply_at_step": 3,
        "expires_at": 9.5, "started_at": 2.0, "finished_at": 3.0, "step": 4, "arguments": {},
        "result": {"record": "Statistik_4.json"}, "reason": None, "why": "to compare",
    }  # fmt: skip

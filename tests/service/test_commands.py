"""Kinds of commands, their bits, their states and their arguments."""

import json
from functools import reduce
from operator import or_

import pytest

from service.commands import Command, CommandState, Kind, Operation, check_arguments, parse_kind
from service.errors import CommandError


def test_every_kind_has_a_bit_of_its_own() -> None:
    bits = [Operation.of(kind) for kind in Kind]

    assert len({int(bit) for bit in bits}) == len(bits)
    assert all(bit.bit_count() == 1 for bit in bits)
    assert Operation.LEAVE not in reduce(or_, bits)


@pytest.mark.parametrize("state", CommandState)
def test_all_states_but_two_are_final(state: CommandState) -> None:
    assert state.is_final == (state not in {CommandState.QUEUED, CommandState.RUNNING})


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_is_known_by_its_name(kind: Kind) -> None:
    assert parse_kind(kind.value) is kind


@pytest.mark.parametrize("text", ["", "Validate", "rollback"])
def test_an_unknown_kind_names_the_known_ones(text: str) -> None:
    with pytest.raises(CommandError, match="there are: resume, pause, validate, checkpoint, stop"):
        parse_kind(text)


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


def test_a_command_is_shown_as_plain_json() -> None:
    command = Command(
        id="1", run_id="r", kind=Kind.VALIDATE, state=CommandState.DONE, actor="eva", source="cli", created_at=1.0,
        arguments={}, started_at=2.0, finished_at=3.0, step=4, result={"record": "Statistik_4.json"},
    )  # fmt: skip

    assert json.loads(json.dumps(command.as_dict())) == {
        "id": "1", "run_id": "r", "kind": "validate", "state": "done", "actor": "eva", "source": "cli",
        "created_at": 1.0, "started_at": 2.0, "finished_at": 3.0, "step": 4, "arguments": {},
        "result": {"record": "Statistik_4.json"}, "reason": None,
    }  # fmt: skip

"""Files of replays that cannot be used: each is one sentence with what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from service.commands import Kind
from service.errors import UserError
from service.run.records.provenance.replay.comparison import differences
from service.run.records.provenance.replay.file import Intervention, Position, ReplayFile, read_replay
from service.run.records.provenance.replay.schema import replay_schema


def a_file() -> dict[str, Any]:
    items = (
        Intervention(Kind.SET, Position(0, 4), {"LR_SCALE": 0.5}, "eva", "slower"),
        Intervention(Kind.ROLLBACK, Position(0, 12), {"checkpoint": "step_0000005"}),
        Intervention(Kind.VALIDATE, Position(1, 6)),
    )
    content: dict[str, Any] = json.loads(ReplayFile("r1", Position(0, 0), Position(1, 60), items).encode())
    return content


def first(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["interventions"][0].update(values)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another-format": (lambda content: content.update(format="x"), "it is no replay"),
    "a-later-version": (lambda content: content.update(format_version=2), "its format_version is 2"),
    "no-list": (lambda content: content.update(interventions={}), "its interventions is {}, but must be a list"),
    "no-run": (lambda content: content.pop("run_id"), "its run_id is None, but must be a text"),
    "another-kind": (first(kind="stop"), "kind of intervention 1 is 'stop', but must be one of: rollback, set"),
    "a-negative-step": (first(step=-1), "step of intervention 1 is -1, but must be a whole number from 0"),
    "a-truth-as-step": (first(step=True), "step of intervention 1 is True"),
    "a-value-out-of-range": (first(arguments={"LR_SCALE": 1000}), "LR_SCALE is 1000"),
    "an-unknown-setting": (first(arguments={"LR_SCAL": 1}), "Did you mean LR_SCALE?"),
    "a-long-reason": (first(why="x" * 600), "why of intervention 1 is 'xxx"),
    "disorder": (first(step=20), "intervention 2 is at step 12, but the one before it at step 20"),
    "a-branch-from-nowhere": (
        lambda content: content["interventions"][2].update(branch_id=2),
        "intervention 3 is at step 6 of branch 2, but no rollback before it begins that branch",
    ),
    "a-movable-target": (
        lambda content: content["interventions"][1].update(arguments={"checkpoint": "best"}),
        "checkpoint of intervention 2 is 'best', but must name a step",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence(what: str, tmp_path: Path) -> None:
    change, sentence = WRONG[what]
    content = a_file()
    change(content)
    path = tmp_path / "replay.json"
    path.write_text(json.dumps(content))

    with pytest.raises(UserError) as caught:
        read_replay(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "\ufeff", "[" * 100_000])
def test_what_is_no_json_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "replay.json").write_text(text)
    with pytest.raises(UserError, match=r"is no JSON|it is no replay"):
        read_replay(tmp_path / "replay.json")
    with pytest.raises(UserError, match=r"cannot be read"):
        read_replay(tmp_path / "missing.json")


def test_the_schema_takes_what_is_written_and_refuses_what_is_not() -> None:
    content = a_file()
    jsonschema.validate(content, replay_schema())
    content["interventions"][0]["step"] = -1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, replay_schema())


def test_only_what_can_change_the_result_is_compared() -> None:
    then = {
        "settings": {"MAX_LR": 0.1, "DATA_ROOT": "a", "API_PORT": 1}, "world_size": 2, "torch": "2.0",
        "devices": [{"device": "cpu"}], "training_data": "t",
    }  # fmt: skip
    here = {
        "settings": {"MAX_LR": 0.2, "DATA_ROOT": "b", "API_PORT": 2, "SEED": 0}, "world_size": 3, "torch": "2.1",
        "devices": [{"device": "cuda"}], "training_data": "u", "leitstand": "1",
    }  # fmt: skip

    assert differences(then, here) == [
        "MAX_LR is 0.2 here, 0.1 there.",
        "3 ranks train here, 2 there: sums are taken in another order.",
        "the devices are cuda here, cpu there.",
        "PyTorch is 2.1 here, 2.0 there.",
        "the training set is another one.",
    ]
    assert differences({}, here) == []
    assert differences({**then, "leitstand": "1"}, {**then, "leitstand": "1"}) == []

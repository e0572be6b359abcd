"""From events to the interventions that made a run what it is."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema

from service.commands import Kind
from service.run.records.provenance.replay.file import Position, ReplayFile, decode, read_replay
from service.run.records.provenance.replay.lineage import BY_A_PERSON, Lineage
from service.run.records.provenance.replay.schema import replay_schema

Row = tuple[int, str, Mapping[str, Any]]


def started(step: int, branch: int = 0, changes: Mapping[str, Any] | None = None, **others: Any) -> Row:
    details = {"step": step, "branch_id": branch, "changes": changes or {}, "world_size": 2, "provenance": "p"}
    return (step, "started", {**details, **others})


def command(kind: Kind, step: int, arguments: Mapping[str, Any] | None = None, **others: Any) -> Row:
    details = {
        "id": f"{kind}-{step}", "kind": kind.value, "state": "done", "step": step, "arguments": arguments or {},
        "actor": "eva", "why": None, "result": {}, **others,
    }  # fmt: skip
    return (step, "command", details)


def changed(step: int, **values: Any) -> list[Row]:
    return [(step, "set", values), command(Kind.SET, step, values)]


def rolled_back(from_step: int, to_step: int, branch: int, reason: str = BY_A_PERSON) -> list[Row]:
    name = f"step_{to_step:07d}"
    details = {"from_step": from_step, "checkpoint": name, "branch_id": branch, "reason": reason}
    found: list[Row] = [(to_step, "rollback", details)]
    if reason == BY_A_PERSON:
        found.append(command(Kind.ROLLBACK, to_step, {"checkpoint": "best"}, result=details))
    return found


def replay_of(*rows: Row, step: int = 60, settings: Mapping[str, Any] | None = None) -> ReplayFile:
    lineage = Lineage(settings or {})
    for row in rows:
        lineage.add(*row)
    return lineage.file("r1", step, {}, "0.1.0")


def shown(found: ReplayFile) -> list[tuple[str, int, int]]:
    return [(item.kind.value, *item.at) for item in found.interventions]


def test_everything_that_was_done_is_told_in_its_order_with_who_did_it() -> None:
    found = replay_of(
        started(0), *changed(4, LR_SCALE=0.5), command(Kind.VALIDATE, 7), command(Kind.PAUSE, 8),
        command(Kind.RESUME, 8), *rolled_back(12, 5, 1), *changed(5, LR_SCALE=0.7), command(Kind.CHECKPOINT, 9),
    )  # fmt: skip

    assert shown(found) == [
        ("set", 0, 4), ("checkpoint", 0, 5), ("validate", 0, 7), ("rollback", 0, 12), ("set", 1, 5),
        ("checkpoint", 1, 9),
    ]  # fmt: skip
    assert (found.begin, found.end) == (Position(0, 0), Position(1, 60))
    assert found.left_out == {"pause": 1, "resume": 1}
    assert [item.actor for item in found.interventions] == ["eva", "replay", "eva", "eva", "eva", "eva"]
    assert found.interventions[3].arguments == {"checkpoint": "step_0000005"}  # not `best`, which may be another one
    assert found.remarks == ()


def test_what_a_crash_lost_is_left_out_and_said() -> None:
    found = replay_of(
        started(0), *changed(4, LR_SCALE=0.5), *changed(12, LR_SCALE=0.1), command(Kind.VALIDATE, 13),
        started(10, changes={"LR_SCALE": 0.5}), *changed(14, LR_SCALE=0.9),
    )  # fmt: skip

    assert shown(found) == [("set", 0, 4), ("set", 0, 14)]
    assert found.remarks == ("2 interventions were lost when the run began again at step 10, and not repeated by it.",)


def test_a_change_at_the_very_step_of_a_start_counts_if_it_is_in_force_then() -> None:
    kept = replay_of(started(0), *changed(10, LR_SCALE=0.5), started(10, changes={"LR_SCALE": 0.5}))
    lost = replay_of(started(0), *changed(10, LR_SCALE=0.5), started(10), settings={"LR_SCALE": 1.0})
    back = replay_of(started(0), *changed(10, L1_WEIGHT="adaptive"), started(10))

    assert (shown(kept), shown(lost), shown(back)) == ([("set", 0, 10)], [], [("set", 0, 10)])


def test_a_rollback_that_a_crash_undid_is_left_out_with_its_branch() -> None:
    found = replay_of(started(0), *rolled_back(12, 5, 1), *changed(6, LR_SCALE=0.5), started(5), command(Kind.PAUSE, 9))

    assert shown(found) == []
    assert found.end == Position(0, 60)


def test_a_rollback_by_itself_is_known_but_marked_and_its_target_is_saved() -> None:
    found = replay_of(started(0), *rolled_back(12, 5, 1, "3 steps were not finite"))

    assert shown(found) == [("checkpoint", 0, 5), ("rollback", 0, 12)]
    assert [item.is_automatic for item in found.interventions] == [False, True]


def test_a_rollback_to_where_a_branch_began_needs_no_other_checkpoint() -> None:
    found = replay_of(started(0), *rolled_back(12, 5, 1), *rolled_back(9, 5, 2), *rolled_back(20, 8, 3))

    assert shown(found) == [
        ("checkpoint", 0, 5), ("rollback", 0, 12), ("rollback", 1, 9), ("checkpoint", 2, 8), ("rollback", 2, 20),
    ]  # fmt: skip


def test_the_state_to_return_to_is_saved_where_the_original_saved_it() -> None:
    """Settings of a state are restored with it, so it matters whether it was saved before or after a change."""
    after_a_stop = replay_of(
        started(0), *changed(5, LR_SCALE=0.5), command(Kind.STOP, 5), started(5, changes={"LR_SCALE": 0.5}),
        *rolled_back(12, 5, 1),
    )  # fmt: skip
    by_schedule = replay_of(started(0), *changed(5, LR_SCALE=0.5), *rolled_back(12, 5, 1))
    as_best = replay_of(started(0), command(Kind.VALIDATE, 5), *changed(5, LR_SCALE=0.5), *rolled_back(12, 5, 1))

    assert [kind for kind, *_ in shown(after_a_stop)] == ["set", "checkpoint", "rollback"]
    assert [kind for kind, *_ in shown(by_schedule)] == ["checkpoint", "set", "rollback"]
    assert [kind for kind, *_ in shown(as_best)] == ["validate", "checkpoint", "set", "rollback"]


def test_other_ranks_and_other_settings_of_a_later_start_are_said() -> None:
    found = replay_of(started(0), started(10, world_size=3), started(20, world_size=3, provenance="q"))

    assert found.remarks == (
        "From step 10 on it ran with 3 ranks, before 2.",
        "The start at step 20 was made otherwise than the one before; see its provenance.",
    )


def test_a_fork_begins_at_the_step_and_branch_of_its_parent() -> None:
    found = replay_of(started(20, branch=1), *changed(22, LR_SCALE=0.5))

    assert (found.begin, shown(found)) == (Position(1, 20), [("set", 1, 22)])


def test_a_history_of_an_earlier_version_says_what_it_does_not_know() -> None:
    bare = {"step": 10, "world_size": 2}
    found = replay_of((0, "started", {**bare, "step": 0}), *changed(10, LR_SCALE=0.5), (10, "started", bare))

    assert shown(found) == [("set", 0, 10)]
    assert "survived the start there is not known" in found.remarks[0]


def test_a_file_is_read_as_it_was_written_and_follows_the_schema(tmp_path: Any) -> None:
    found = replay_of(started(0), *changed(4, LR_SCALE=0.5), *rolled_back(12, 5, 1), command(Kind.VALIDATE, 7))
    path = tmp_path / "replay.json"
    path.write_bytes(found.encode())

    assert read_replay(path) == found
    assert decode(json.loads(found.encode())).sha256 == found.sha256
    jsonschema.validate(json.loads(found.encode()), replay_schema())

"""What a command promises, held over real HTTP while many people steer at once, and across the death of all ranks."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from service.api_types import CommandAnswer
from service.client.client import Client, is_final
from service.commands import Kind
from tests.e2e.crowd import CLIENTS, NEVER, ROUNDS, Crowd
from tests.e2e.tiny_run import RARE, TinyRun

Eventually = Callable[..., None]
Commands = dict[str, CommandAnswer]


def test_every_accepted_command_ends_once_and_what_it_says_is_what_happened(
    run: TinyRun, eventually: Eventually
) -> None:
    run.validation_gate.touch()
    process = run.start()
    with run.client() as client:
        run.wait_for_step(client, 21)  # so that there is a checkpoint to go back to
        crowd = Crowd(run.url, seed=11)
        crowd.steer()
        assert len(crowd.accepted) + crowd.refused.total() == CLIENTS * ROUNDS
        assert crowd.refused.keys() == {422}, crowd.refused

        ended = settled(client, crowd.accepted, eventually)
        run.wait_for_step(client, client.state()["step_live"] + 3)
        hopeless = client.submit("validate", apply_at_step=NEVER)["id"]
        stop = client.submit("stop")["id"]
        assert process.wait(timeout=60) == 0, run.output()

        assert {key: client.command(key) for key in ended} == ended
        assert client.command(hopeless)["state"] == "rejected"
        assert run.command_ids() == {*ended, hopeless, stop}  # what was refused left nothing behind
        ended[stop] = client.command(stop)
        assert ended[stop]["state"] == "done"
    check_fates(ended, crowd)
    check_events(run, ended)
    check_validations(run, ended)
    check_checkpoints(run, ended)


def settled(client: Client, accepted: list[str], eventually: Eventually) -> Commands:
    """All commands once they have ended, those included that had to end a pause meanwhile."""
    ended: Commands = {}
    waiting = set(accepted)

    def have_all_ended() -> bool:
        ended.update({key: command for key in waiting if is_final(command := client.command(key))})
        waiting.difference_update(ended)
        if client.state()["run_state"] == "paused":  # asked last: a pause may just have ended
            waiting.add(client.submit("resume")["id"])
        return not waiting

    eventually(have_all_ended, seconds=60, what="the end of all commands")
    return ended


def check_fates(ended: Commands, crowd: Crowd) -> None:
    """Each final state says what it must, and the seed led to each of them."""
    by_state: defaultdict[str, list[CommandAnswer]] = defaultdict(list)
    for command in ended.values():
        by_state[command["state"]].append(command)
    assert {"done", "expired", "cancelled"} <= by_state.keys() <= {"done", "expired", "cancelled", "rejected"}
    assert {command["id"] for command in by_state["cancelled"]} == set(crowd.cancelled)
    for command in by_state["expired"] + by_state["cancelled"]:
        assert (command["started_at"], command["step"], command["result"]) == (None, None, None), command
    assert all(command["reason"] for command in by_state["rejected"] + by_state["expired"])
    for command in by_state["done"]:
        assert command["step"] is not None, command
        ranks = (command["result"] or {})["ranks"]
        assert [(rank["rank"], rank["outcome"]) for rank in ranks] == [(0, "done"), (1, "done")], command
        if command["apply_at_step"] is not None:
            assert boundary_of(command) == command["apply_at_step"], command


def boundary_of(command: CommandAnswer) -> Any:
    """The step at whose end a command was carried out: a rollback's own step is where it led to."""
    return (command["result"] or {}).get("from_step", command["step"])


def check_events(run: TinyRun, ended: Commands) -> None:
    """Every change and every rollback of the run's history was asked for exactly once, and none is missing."""
    done = [command for command in ended.values() if command["state"] == "done"]
    asked = Counter((c["step"], json.dumps(c["arguments"], sort_keys=True)) for c in done if c["kind"] == Kind.SET)
    happened = Counter((e["step"], json.dumps(e["details"], sort_keys=True)) for e in run.events("set"))
    assert asked
    assert happened == asked

    returns = [c["result"] or {} for c in done if c["kind"] == Kind.ROLLBACK]
    rollbacks = [event["details"] for event in run.events("rollback")]
    keys = ("from_step", "checkpoint", "branch_id")
    assert rollbacks
    assert Counter(tuple(e[key] for key in keys) for e in rollbacks) == Counter(
        tuple(result[key] for key in keys) for result in returns
    )
    assert sorted(event["branch_id"] for event in rollbacks) == list(range(1, len(rollbacks) + 1))
    for kind, event in ((Kind.PAUSE, "paused"), (Kind.RESUME, "resumed")):
        steps = Counter(c["step"] for c in done if c["kind"] == kind)
        assert Counter(e["step"] for e in run.events(event)) <= steps


def check_validations(run: TinyRun, ended: Commands) -> None:
    """Every validation that is done has its record, and no step of a branch has two."""
    records = run.records()
    places = Counter((record["branch_id"], record["step_current"]) for _, record in records)
    assert [place for place, count in places.items() if count > 1] == []

    asked = {key: c for key, c in ended.items() if c["kind"] == Kind.VALIDATE and c["state"] == "done"}
    own = {key: (c["result"] or {}) for key, c in asked.items() if not (c["result"] or {})["shared"]}
    names = {path.name for path, _ in records}
    assert {(c["result"] or {})["record"] for c in asked.values()} <= names
    manual = [record for _, record in records if record["trigger"] == "manual"]
    # Those that came together share one record, which names the first of them: there are no more records than that.
    assert all(record["command_id"] in own for record in manual)
    began = {key: result["ranks"][0]["began_at"] for key, result in own.items()}
    assert {began[record["command_id"]] for record in manual} == set(began.values())
    assert len(manual) == len(set(began.values())) < len(own)


def check_checkpoints(run: TinyRun, ended: Commands) -> None:
    """What is said to be saved is there, if not where it was saved, then where a rollback put it."""
    folders = [*run.root.glob("checkpoints/step_*"), *run.root.glob("archive/*/checkpoints/step_*")]
    names = {folder.name for folder in folders if (folder / "manifest.json").exists()}
    saved = [c for c in ended.values() if c["kind"] in {Kind.CHECKPOINT, Kind.STOP} and c["state"] == "done"]
    assert {(command["result"] or {})["checkpoint"] for command in saved} <= names


def states(client: Client, commands: list[str]) -> set[str]:
    return {client.command(key)["state"] for key in commands}


def test_what_runs_when_all_ranks_are_killed_is_interrupted_and_never_runs_again(
    run: TinyRun, eventually: Eventually
) -> None:
    rare = {"VAL_STEP_EVERY": RARE, "CHECKPOINT_EVERY": 5, "SAVE_BEST": "false"}
    run.start(**rare)
    with run.client() as client:
        run.wait_for_step(client, 10)
        hanging = client.submit("validate")
        eventually(lambda: client.state()["validation_running"], what="the validation that waits")
        step = client.state()["step_live"]
        later = [
            client.submit("set", {"LR_SCALE": 0.5}, apply_at_step=step + 1),
            client.submit("checkpoint", apply_at_step=step + 2),
            client.submit("pause", apply_at_step=step + 2),
        ]
        interrupted = [command["id"] for command in (hanging, *later)]
        eventually(lambda: states(client, interrupted) == {"running"}, what="the beginning of all commands")
        run.kill_all()
        assert states(client, interrupted) == {"running"}
        waiting = client.submit("set", {"LOG_EVERY": 3})["id"]

        run.validation_gate.touch()
        process = run.start("--resume", **rare)
        run.wait_for_step(client, step + 10)
        ended = {key: client.command(key) for key in interrupted}
        assert {(c["state"], c["reason"], c["step"]) for c in ended.values()} == {("failed", "interrupted", None)}
        assert client.wait(waiting, timeout_seconds=30)["state"] == "done"
        client.submit("stop")
        assert process.wait(timeout=60) == 0, run.output()
        assert {key: client.command(key) for key in interrupted} == ended
    assert [event["details"] for event in run.events("set")] == [{"LOG_EVERY": 3}]
    assert run.events("paused") == []
    assert run.records() == []

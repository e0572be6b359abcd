"""Keys that become commands in the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.commands import CommandState, Kind, outcome_sentence
from service.launcher.terminal.key_commands import LEGEND, KeyCommands
from service.run.directory import RunDirectory
from service.run.state import RunState
from service.store.store import Store
from tests.service.harness.locked import locked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leitstand.db"


@pytest.fixture
def store(path: Path) -> Store:
    """A store with a running training."""
    store = Store(path, create=True)
    store.open_run("run-1", {})
    store.runs.update("run-1", state=RunState.RUNNING.value)
    return store


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def key_commands(path: Path, said: list[str]) -> KeyCommands:
    return KeyCommands(path, said.append, "eva")


@pytest.mark.parametrize(("key", "kind"), [("v", Kind.VALIDATE), ("c", Kind.CHECKPOINT), ("p", Kind.PAUSE)])
def test_a_key_is_a_command(store: Store, key_commands: KeyCommands, said: list[str], key: str, kind: Kind) -> None:
    key_commands.press(key)

    (command,) = store.commands.find("run-1")
    assert (command.kind, command.state, command.actor, command.source) == (kind, "queued", "eva", "keyboard")
    assert said == [f"{kind} asked for"]
    assert key_commands.is_waiting


def test_p_resumes_a_paused_training(store: Store, key_commands: KeyCommands) -> None:
    store.runs.update("run-1", state=RunState.PAUSED.value)

    key_commands.press("p")

    assert store.commands.find("run-1")[0].kind is Kind.RESUME


def test_p_looks_at_what_was_asked_for_last_and_not_at_other_kinds(store: Store, key_commands: KeyCommands) -> None:
    store.commands.submit("run-1", Kind.PAUSE, {}, actor="x", source="api")
    store.commands.submit("run-1", Kind.VALIDATE, {}, actor="x", source="api")

    key_commands.press("p")
    key_commands.press("p")

    assert [command.kind for command in store.commands.find("run-1")][2:] == [Kind.RESUME, Kind.PAUSE]


def test_p_leaves_a_pause_at_a_later_step_alone(store: Store, key_commands: KeyCommands) -> None:
    store.commands.submit("run-1", Kind.PAUSE, {}, actor="x", source="api", apply_at_step=5000)

    key_commands.press("p")

    assert [(command.kind, command.apply_at_step) for command in store.commands.find("run-1")][1:] == [
        (Kind.PAUSE, None)
    ]


def test_another_key_shows_the_keys(key_commands: KeyCommands, said: list[str]) -> None:
    key_commands.press("x")

    assert said == [LEGEND]


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.STOPPED, RunState.FAILED])
def test_without_a_trainer_no_command_is_accepted(
    store: Store, key_commands: KeyCommands, said: list[str], state: RunState
) -> None:
    store.runs.update("run-1", state=state.value)

    key_commands.press("v")

    assert store.commands.find("run-1") == []
    assert said == ["No training is under way yet that could take a command."]


def test_a_run_that_has_not_been_heard_of_takes_no_command(
    store: Store, key_commands: KeyCommands, said: list[str]
) -> None:
    store.runs.update("run-1", heartbeat_at=0.0)

    key_commands.press("v")

    assert said == ["No training is under way yet that could take a command."]


def test_before_the_store_exists_a_key_says_so(key_commands: KeyCommands, said: list[str]) -> None:
    key_commands.press("v")
    key_commands.report()

    assert said[0].startswith("The command was not accepted: there is no store")


def test_a_locked_store_is_said_and_asked_again(store: Store, path: Path, said: list[str]) -> None:
    quick = KeyCommands(path, said.append, "eva", busy_seconds=0.05)
    quick.press("v")
    with locked(path):
        quick.press("c")
        quick.report()

    assert said[1].startswith("The command was not accepted: store ")
    assert quick.is_waiting


def test_an_outcome_is_said_once(store: Store, key_commands: KeyCommands, said: list[str]) -> None:
    key_commands.press("v")
    key_commands.report()
    (command,) = store.commands.find("run-1")
    store.commands.finish(command.id, CommandState.FAILED, step=12, reason="the disk is full")

    key_commands.report()
    key_commands.report()

    assert said == ["validate asked for", "validate failed at step 12: the disk is full"]
    assert not key_commands.is_waiting


def test_while_the_store_is_away_a_command_stays_awaited(store: Store, path: Path, key_commands: KeyCommands) -> None:
    key_commands.press("v")
    path.rename(path.with_name("away.db"))

    key_commands.report()

    assert key_commands.is_waiting


def test_a_command_that_went_into_the_archive_is_not_awaited(
    store: Store, path: Path, key_commands: KeyCommands, said: list[str]
) -> None:
    key_commands.press("v")
    path.rename(path.with_name("archived.db"))
    Store(path, create=True)

    key_commands.report()

    assert not key_commands.is_waiting
    assert said == ["validate asked for"]


def test_the_run_of_an_earlier_trainer_is_not_taken_for_this_ones(store: Store, key_commands: KeyCommands) -> None:
    run = store.runs.latest()
    assert run is not None

    assert key_commands.run_since(run.started_at) == run
    assert key_commands.run_since(run.started_at + 1) is None


def test_without_a_store_there_is_no_run(key_commands: KeyCommands) -> None:
    assert key_commands.run_since(0.0) is None


@pytest.mark.parametrize(
    ("state", "step", "result", "reason", "text"),
    [
        ("queued", None, None, None, "pause queued"),
        ("done", 5, None, None, "pause done at step 5"),
        ("done", 5, {"record": "a", "db": 30.123456}, None, "pause done at step 5: record a, db 30.1235"),
        ("done", 5, {"shared": True, "ranks": [{}], "step": None}, None, "pause done at step 5"),
        ("rejected", None, None, "the run has ended", "pause rejected: the run has ended"),
        ("failed", 3, {"record": "a"}, "no space", "pause failed at step 3: no space"),
    ],
)  # fmt: skip
def test_an_outcome_is_one_line(
    state: str, step: int | None, result: dict[str, object] | None, reason: str | None, text: str
) -> None:
    assert outcome_sentence("pause", state, step, result, reason) == text


@pytest.fixture
def shared(store_url: str) -> Iterator[Store]:
    """A store of two running trainings, of which somebody else's started last."""
    store = Store(store_url, create=True)
    for run_id, started_at in (("ours", 1.0), ("theirs", 2.0)):
        store.open_run(run_id, {})
        store.runs.update(run_id, state=RunState.RUNNING.value, started_at=started_at)
    yield store
    store.close()


def test_in_a_store_of_many_runs_keys_steer_the_one_in_our_run_directory(
    shared: Store, store_url: str, tmp_path: Path, said: list[str]
) -> None:
    directory = RunDirectory(tmp_path)
    key_commands = KeyCommands(store_url, said.append, "eva", directory.run_id)
    key_commands.press("v")
    directory.identity.write_text('{"run_id')
    key_commands.press("v")
    directory.identity.write_text('{"run_id": "ours"}')
    key_commands.press("c")

    assert said == [*["No training is under way yet that could take a command."] * 2, "checkpoint asked for"]
    assert [command.kind for command in shared.commands.find("ours")] == [Kind.CHECKPOINT]
    assert shared.commands.find("theirs") == []
    assert key_commands.run_since(3.0) is None
    shared.runs.update("ours", started_at=4.0, state=RunState.FINISHED.value)
    run = key_commands.run_since(3.0)
    assert run is not None
    assert run.id == "ours"
    key_commands.close()

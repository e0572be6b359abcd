"""`leitstand watch` against a real API: what it shows in every state of a run, and what its keys do."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.auth.tokens import TokenScope, create_token, revoke_token
from service.cli.watch.picture import picture
from service.cli.watch.spans import width_of
from service.commands import CommandState, Kind
from service.run.state import RunState
from service.store.queries.ranks import RankRow
from service.store.store import SeriesRow, Store
from tests.api.harness.example_run import LAST_STEP, RUN_ID, example_record, save_record, write_run
from tests.api.harness.serving import Server, Serving, free_port
from tests.api.harness.watching import Watcher, assert_snapshot, watch

AHEAD = 3600.0
"""Seconds by which heartbeats are dated ahead: they stay fresh during a test."""
COMPLETE = ("Statistik_4200.json", "all-reduce")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    """The store of a run of two ranks; its records were saved one after the other."""
    store = write_run(root)
    for at, path in enumerate(sorted(root.glob("Statistik_*.json"), key=lambda path: (len(path.name), path.name))):
        os.utime(path, (time.time() - 600 + at,) * 2)
    live(store)
    ranks = [
        RankRow(rank, time.time() + AHEAD, "gpu-07", 1, f"cuda:{rank}", stage, LAST_STEP + 1, 0.2, None, None)
        for rank, stage in enumerate(("data", "all-reduce"))
    ]
    store.ranks.replace(RUN_ID, ranks)
    yield store
    store.close()


def live(store: Store, state: RunState = RunState.RUNNING, **values: Any) -> None:
    """Let the run be in a state, heard of now and for as long as a test takes."""
    ahead = time.time() + AHEAD
    store.runs.update(RUN_ID, **{"state": state.value, "heartbeat_at": ahead, "progress_at": ahead, **values})


@pytest.fixture
def server(root: Path, store: Store, serving: Serving) -> Iterator[Server]:
    with serving(root) as server:
        yield server


def snapshot(server: Server, name: str, *texts: str, **options: Any) -> None:
    """Compare the screen that shows these texts with the kept one."""

    async def look(watcher: Watcher) -> None:
        await watcher.until(lambda: watcher.app.view.is_complete, "everything")
        await watcher.shows(*texts)
        assert_snapshot(name, watcher.shown())

    watch(server.url, look, **options)


def test_a_running_training(server: Server) -> None:
    snapshot(server, "running", "RUNNING", "live", *COMPLETE)


def test_a_running_training_on_a_large_screen(server: Server) -> None:
    snapshot(server, "running-160x50", "RUNNING", "live", *COMPLETE, size=(160, 50))


def test_a_paused_training_says_since_when_and_how_it_goes_on(server: Server, store: Store) -> None:
    command = store.commands.submit(RUN_ID, Kind.PAUSE, {}, actor="eva", source="cli")
    store.commands.finish(command.id, CommandState.DONE, step=LAST_STEP)
    live(store, RunState.PAUSED)

    snapshot(server, "paused", "PAUSED", "since", "live", "pause done", "p resume")


def test_a_stalled_training_says_what_hangs(root: Path, store: Store, serving: Serving) -> None:
    live(store, progress_at=time.time() - 90, reason="Rank 1 is in stage data for 90 s.")

    with serving(root) as server:  # one that sees no other heartbeat, and so no jump of the trainer's clock
        snapshot(server, "stalled", "STALLED", "live", *COMPLETE)


def test_a_lost_trainer(root: Path, store: Store, serving: Serving) -> None:
    live(store, heartbeat_at=time.time() - 200)

    with serving(root) as server:
        snapshot(server, "lost", "TRAINER LOST", "live", *COMPLETE)


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.STOPPED, RunState.FAILED])
def test_a_run_that_has_ended(server: Server, store: Store, state: RunState) -> None:
    reason = "RuntimeError: the loss is not a number" if state is RunState.FAILED else None
    live(store, state, heartbeat_at=time.time() - 200, reason=reason)

    snapshot(server, state.value, state.value.upper(), "live", *COMPLETE)


def test_a_start_without_a_log_point(root: Path, serving: Serving) -> None:
    store = write_run(root, last_step=0, state=RunState.STARTING)
    live(store, RunState.STARTING)
    store.close()
    with serving(root) as server:
        snapshot(server, "starting", "STARTING", "live", "nothing has happened")


def test_a_folder_without_a_run_shows_the_run_once_it_has_begun(root: Path, serving: Serving) -> None:
    root.mkdir()

    async def look(watcher: Watcher) -> None:
        await watcher.shows("NO RUN YET")
        assert_snapshot("empty", watcher.shown())
        store = write_run(root)
        live(store)
        store.close()
        await watcher.shows("RUNNING", RUN_ID, "step 4 200", "KI 0.6977")

    with serving(root) as server:
        watch(server.url, look)


def test_an_api_that_went_away_and_came_back(root: Path, store: Store, serving: Serving) -> None:
    port = free_port()

    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "live", *COMPLETE)
        await watcher.until(lambda: watcher.app.view.is_complete, "everything")
        first.close()
        await watcher.shows("UNKNOWN, WAS RUNNING", "no answer", "Nothing answers")
        assert_snapshot("away", watcher.shown())
        with serving(root, at_port=port):
            await watcher.shows(" RUNNING ", "live")

    with ExitStack() as first:
        server = first.enter_context(serving(root, at_port=port))
        watch(server.url, look)


def test_an_api_that_is_not_there_yet_is_waited_for(root: Path, store: Store, serving: Serving) -> None:
    port = free_port()

    async def look(watcher: Watcher) -> None:
        await watcher.shows("API AWAY", "leitstand up")
        with serving(root, at_port=port):
            await watcher.shows("RUNNING", *COMPLETE)

    watch(f"http://127.0.0.1:{port}", look)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def test_a_token_that_is_revoked_while_one_watches(root: Path, store: Store, serving: Serving, tokens: Path) -> None:
    token = create_token(tokens, "eva", TokenScope.CONTROL)

    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "live", *COMPLETE)
        await watcher.until(lambda: watcher.app.view.is_complete, "everything")
        revoke_token(tokens, "eva")
        await watcher.shows("refused", "expired")
        assert_snapshot("token-expired", watcher.shown())

    with serving(root, API_TOKENS=str(tokens)) as server:
        watch(server.url, look, token=token)


def test_a_token_that_may_only_read_has_no_keys_that_act(
    root: Path, store: Store, serving: Serving, tokens: Path
) -> None:
    token = create_token(tokens, "eva", TokenScope.READ)

    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "live", "may only watch", "no alert", *COMPLETE)
        assert_snapshot("read-only", watcher.shown())
        await watcher.pilot.press("v", "p", "c", "s", "y", "?")
        await watcher.shows("close this view")
        assert "pause the training" not in watcher.shown()

    with serving(root, API_TOKENS=str(tokens)) as server:
        watch(server.url, look, token=token)
    assert store.commands.find(RUN_ID) == []


def test_a_token_that_is_wrong_from_the_beginning_ends_the_view(
    root: Path, store: Store, serving: Serving, tokens: Path
) -> None:
    create_token(tokens, "eva", TokenScope.READ)

    async def look(watcher: Watcher) -> None:
        await watcher.until(lambda: watcher.app.failure, "the end")

    with serving(root, API_TOKENS=str(tokens)) as server:
        app = watch(server.url, look, token="wrong")
    assert app.return_value == 2
    assert "unknown, revoked or expired" in str(app.failure)


def kinds(store: Store) -> list[str]:
    return [command.kind.value for command in store.commands.find(RUN_ID)]


def test_keys_are_commands_of_the_person_and_their_outcome_is_shown(server: Server, store: Store) -> None:
    async def press(watcher: Watcher) -> None:
        await watcher.shows("v validate", "live")
        await watcher.pilot.press("v")
        await watcher.shows("validate asked for")
        (command,) = store.commands.find(RUN_ID)
        store.commands.finish(command.id, CommandState.DONE, step=4210, result={"record": "Statistik_4210.json"})
        await watcher.shows("validate done at step 4210: record Statistik_4210.json")
        await watcher.pilot.press("C")
        await watcher.shows("checkpoint asked for")

    watch(server.url, press)
    assert kinds(store) == ["validate", "checkpoint"]
    assert {(command.actor, command.source) for command in store.commands.find(RUN_ID)} == {("eva@127.0.0.1", "cli")}


def test_p_is_the_opposite_of_what_waits_or_of_the_state(server: Server, store: Store) -> None:
    async def press(watcher: Watcher) -> None:
        await watcher.shows("p pause")
        await watcher.pilot.press("p")
        await watcher.until(lambda: kinds(store) == ["pause"], "a pause")
        await watcher.pilot.press("p")
        await watcher.until(lambda: kinds(store) == ["pause", "resume"], "its opposite")
        for command in store.commands.find(RUN_ID):
            store.commands.finish(command.id, CommandState.DONE, step=1)
        live(store, RunState.PAUSED)
        await watcher.shows("p resume")
        await watcher.pilot.press("p")
        await watcher.until(lambda: kinds(store) == ["pause", "resume", "resume"], "a resume")

    watch(server.url, press)


def test_s_asks_first(server: Server, store: Store) -> None:
    async def press(watcher: Watcher) -> None:
        await watcher.shows("s stop")
        await watcher.pilot.press("s")
        await watcher.shows("Stop the training?")
        await watcher.pilot.press("q")
        await watcher.until(lambda: "Stop the training?" not in watcher.shown(), "the end of the question")
        assert kinds(store) == []
        await watcher.pilot.press("s", "y")
        await watcher.shows("stop asked for")

    watch(server.url, press)
    assert kinds(store) == ["stop"]


def test_a_reason_goes_with_the_next_command_and_with_no_other(server: Server, store: Store) -> None:
    async def press(watcher: Watcher) -> None:
        await watcher.shows("w why")
        await watcher.pilot.press("w", *"disk", "space", *"fulx", "backspace", "l")
        await watcher.shows("disk full▏")
        await watcher.pilot.press("enter")
        await watcher.shows("with the next command: disk full")
        await watcher.pilot.press("c")
        await watcher.until(lambda: kinds(store) == ["checkpoint"], "the command")
        await watcher.pilot.press("w", *"never mind", "escape", "v")
        await watcher.until(lambda: kinds(store) == ["checkpoint", "validate"], "the second command")

    watch(server.url, press)
    assert [command.why for command in store.commands.find(RUN_ID)] == ["disk full", None]


def test_a_refused_command_is_said(server: Server, store: Store) -> None:
    async def press(watcher: Watcher) -> None:
        await watcher.shows("v validate", "live")
        # Between two answers: the view still takes the trainer for alive.
        store.runs.update(RUN_ID, state="finished")
        await watcher.pilot.press("v")
        await watcher.until(lambda: "not accepted: " in watcher.shown() or "FINISHED" in watcher.shown(), "a refusal")

    watch(server.url, press)
    assert kinds(store) == []


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
def test_leaving_closes_the_view_alone(server: Server, store: Store, key: str, code: int) -> None:
    async def press(watcher: Watcher) -> None:
        await watcher.shows("RUNNING")
        await watcher.pilot.press(key)

    assert watch(server.url, press).return_value == code
    assert kinds(store) == []


def test_log_points_records_and_alerts_come_as_they_happen(server: Server, store: Store, root: Path) -> None:
    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "live", *COMPLETE)
        record = example_record(4300, time.time(), total_loss_value=0.0123, quality_ki_value=0.7123)
        store.series.add(RUN_ID, [SeriesRow(4300, time.time(), {"total_loss_value": 0.0123})])
        save_record(root, store, record)
        live(store, step=4300, snapshot=record)
        await watcher.shows("step 4 300 of", "train 0.0123", "KI 0.7123", "Statistik_4300.json: quality KI 0.7123")
        store.events.add(RUN_ID, 4300, "slow rank", {"rank": 1, "own_seconds": [0.1, 0.3]})
        await watcher.shows("slow rank at step 4300: rank 1")

    watch(server.url, look)


def test_without_event_streams_the_view_asks_again_and_again(root: Path, store: Store, serving: Serving) -> None:
    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "polling", *COMPLETE)
        store.series.add(RUN_ID, [SeriesRow(4300, time.time(), {"total_loss_value": 0.0123})])
        live(store, step=4300, snapshot=example_record(4300, time.time()))
        await watcher.shows("step 4 300 of", "train 0.0123")

    with serving(root, API_STREAMS="0") as server:
        watch(server.url, look)


def test_another_run_takes_the_place_of_the_first(server: Server, store: Store) -> None:
    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", *COMPLETE)
        store.open_run("another", {})
        store.runs.update("another", started_at=time.time() + 1, heartbeat_at=time.time() + AHEAD, state="starting")
        await watcher.shows("run another", "STARTING", "nothing measured yet")
        await watcher.until(lambda: "Statistik_4200.json" not in watcher.shown(), "no records of the first run")

    watch(server.url, look)


def test_names_from_elsewhere_cannot_colour_the_screen(server: Server, store: Store) -> None:
    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "live")
        store.events.add(RUN_ID, 1, "left out", {"files": ["\x1b[31m[bold]red[/bold]\u202e.png"]})
        await watcher.shows("left out at step 1: \\x1b[31m[bold]red[/bold]\\u202e.png")

    watch(server.url, look)


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (60, 20), (40, 12), (20, 6), (10, 3), (300, 100)])
def test_the_picture_fills_any_size_exactly(server: Server, size: tuple[int, int]) -> None:
    async def look(watcher: Watcher) -> None:
        await watcher.until(lambda: watcher.app.view.is_complete, "everything")
        rows = picture(watcher.app.view, *size, time.time())
        assert len(rows) == size[1]
        assert {width_of(row) for row in rows} == {size[0]}

    watch(server.url, look, size=size)


def test_a_store_that_holds_odd_values_is_shown(server: Server, store: Store) -> None:
    odd = json.loads(json.dumps(example_record(4200, time.time())))
    odd.update(
        per_rank=[], layer_activity_map={"a": None}, total_loss_value=None, learning_rate_value=None, grad_norm=None,
        iteration_duration=None, slow_rank=7, eta_total_formatted="–", quality_ki_value=None,
    )  # fmt: skip
    live(store, snapshot=odd)

    async def look(watcher: Watcher) -> None:
        await watcher.shows("RUNNING", "Rank 7 is slow")

    watch(server.url, look)

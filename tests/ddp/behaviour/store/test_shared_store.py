"""A trainer whose store is a PostgreSQL server, which may be away at any time."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ddp.control.command_poller import CommandPoller
from ddp.control.command_queue import CommandQueue
from ddp.recording.recorder import Recorder
from ddp.recording.registration import RunRegistration, register_run
from ddp.recording.store_writer import StoreWriter
from ddp.validation.record_values import NOT_YET_VALIDATED
from service.commands import CommandState, Kind
from service.config.settings import RunConfig
from service.errors import RunDirectoryError, SettingError
from service.run.directory import RunDirectory
from service.run.record import KEYS
from service.run.state import RunState
from service.store.store import SeriesRow, Store, StoreUnavailableError
from tests.ddp.harness.training import Eventually, Training
from tests.postgres import PASSWORD, PostgresService

RUN = "run0"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Another's look into the store."""
    with closing(Store(store_url)) as store:
        store.open_run(RUN, {})
        yield store


@pytest.fixture
def recorder(tmp_path: Path, store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr("ddp.recording.recorder_thread.RETRY_SECONDS", 0.05)
    writing = Store(store_url, keep_open=True, busy_seconds=1.0)
    recorder = Recorder(writing, RunDirectory(tmp_path), RUN, CommandPoller(writing, RUN, CommandQueue()))
    recorder.start()
    yield recorder
    recorder.close(RunState.STOPPED)


def record(step: int) -> dict[str, Any]:
    return {**dict.fromkeys(KEYS), **NOT_YET_VALIDATED, "step_current": step}


def state_of(store: Store, command_id: str) -> CommandState:
    command = store.commands.get(command_id)
    assert command is not None
    return command.state


def test_a_server_killed_twice_and_started_again_loses_nothing_and_doubles_nothing(
    postgres: PostgresService,
    store: Store,
    recorder: Recorder,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    steps = range(1, 301)
    for step in steps:
        recorder.mark_step(step)
        recorder.log_point(step, {"total_loss_value": 1.0 / step}, record(step))
        recorder.event("something", {"step": step})
        if step in (100, 200):
            eventually(lambda: store.series.span(RUN), what="a first log point")
            caplog.clear()
            postgres.kill()
            eventually(lambda: "The store cannot be reached" in caplog.text, what="the warning")
        if step in (150, 250):
            postgres.start()
            eventually(lambda: "The store is back" in caplog.text, what="the all-clear")
    recorder.record(record(300), {"quality_ki_value": 0.5}, [], [])

    def is_complete() -> bool:
        return store.records.count(RUN) == 1 and store.series.span(RUN) == (1, 300)

    eventually(is_complete, what="all that was written")
    assert [row.step for row in store.series.find(RUN)] == list(steps)
    happened = [event for event in store.events.find(RUN, 0, 1000) if event.kind == "something"]
    assert [event.details["step"] for event in happened] == list(steps)
    eventually(lambda: (run := store.runs.get(RUN)) and run.step == 300, what="the heartbeat")
    assert PASSWORD not in caplog.text


def test_a_server_that_stands_still_keeps_no_record_from_its_file_and_doubles_nothing_when_it_goes_on(
    postgres: PostgresService,
    store: Store,
    recorder: Recorder,
    tmp_path: Path,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.store.backends.postgres_connection.PING_AFTER_SECONDS", 0.1)
    caplog.set_level("INFO")
    steps = range(1, 201)
    for step in steps:
        recorder.mark_step(step)
        recorder.event("something", {"step": step})
        if step == 100:
            eventually(lambda: store.events.counts(RUN), what="a first event")
            postgres.freeze()
    try:
        recorder.record(record(200), {"quality_ki_value": 0.5}, [], [])
        eventually(lambda: "The store cannot be reached" in caplog.text, what="the warning")
        eventually((tmp_path / "Statistik_200.json").exists, what="the record's file")
    finally:
        postgres.thaw()
    eventually(lambda: "The store is back" in caplog.text, what="the all-clear")

    eventually(lambda: store.records.count(RUN) == 1, what="the copy of the record")
    happened = [event for event in store.events.find(RUN, 0, 1000) if event.kind == "something"]
    assert [event.details["step"] for event in happened] == list(steps)


def test_commands_arrive_again_after_the_server_was_away(
    postgres: PostgresService, store: Store, recorder: Recorder, eventually: Eventually
) -> None:
    postgres.stop()
    postgres.start()
    command = store.commands.submit(RUN, Kind.PAUSE, {}, actor="me", source="api")

    eventually(lambda: state_of(store, command.id) is CommandState.RUNNING, what="the command's beginning")


def test_what_may_have_been_written_is_not_written_twice(tmp_path: Path) -> None:
    class LosesConnection(Store):
        """Its first transaction is kept, but nobody hears so."""

        lost = 0

        @contextmanager
        def transaction_scope(self) -> Iterator[None]:
            with super().transaction_scope():
                yield
            self.lost += 1
            if self.lost == 1:
                raise StoreUnavailableError("connection lost")

    store = LosesConnection(tmp_path / "leitstand.db", create=True)
    with pytest.raises(StoreUnavailableError):
        store.open_run(RUN, {})
    store.lost = 0
    queue = StoreWriter(store, RUN)
    queue.add(lambda store: store.events.add(RUN, 1, "first", {}))
    with pytest.raises(StoreUnavailableError):
        queue.write()
    queue.add(lambda store: store.events.add(RUN, 2, "second", {}))
    queue.write()

    assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["first", "second"]
    assert len(queue) == 0


def test_what_failed_to_be_written_is_written_at_the_next_try(tmp_path: Path) -> None:
    store = Store(tmp_path / "leitstand.db", create=True)
    store.open_run(RUN, {})
    queue = StoreWriter(store, RUN)
    obstacles = [StoreUnavailableError("busy")]

    def hesitate(store: Store) -> None:
        store.events.add(RUN, 1, "half", {})
        if obstacles:
            raise obstacles.pop()

    queue.add(hesitate)
    with pytest.raises(StoreUnavailableError):
        queue.write()
    queue.write()

    assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["half"]


@pytest.mark.parametrize("value", [float("nan"), "a text where a number belongs"])
def test_a_writing_that_is_not_storable_leaves_nothing_half_done(tmp_path: Path, value: Any) -> None:
    store = Store(tmp_path / "leitstand.db", create=True)
    store.open_run(RUN, {})
    queue = StoreWriter(store, RUN)

    def half(store: Store) -> None:
        store.events.add(RUN, 1, "half", {})
        store.series.add(RUN, [SeriesRow(step, 1.0, {"loss": [1.0, value][step % 2]}) for step in range(1000)])

    queue.add(lambda store: store.events.add(RUN, 1, "before", {}))
    queue.add(half)
    queue.add(lambda store: store.events.add(RUN, 1, "after", {}))
    queue.write()

    assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["before", "after"]


# Starts


def registration(step: int = 0) -> RunRegistration:
    return RunRegistration(RUN, {"SCALE": 3}, step)


def test_a_start_without_the_server_is_said_and_told_to_it_later(
    postgres: PostgresService, store_url: str, tmp_path: Path, eventually: Eventually,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ddp.recording.recorder_thread.RETRY_SECONDS", 0.05)
    with closing(Store(store_url)) as store:
        store.series.add(RUN, [SeriesRow(step, 1.0, {"loss": 1.0}) for step in (10, 20)])
        postgres.stop()
        begun = registration(step=10)
        writing, before = register_run(RunConfig(store_url=store_url), begun)
        assert before is None
        recorder = Recorder(writing, RunDirectory(tmp_path), RUN, CommandPoller(writing, RUN, CommandQueue()))
        recorder.register_when_reachable(begun.in_store)
        recorder.set_state(RunState.RUNNING)
        recorder.log_point(12, {"loss": 0.5}, record(12))
        recorder.start()
        eventually(lambda: "The store cannot be reached" in caplog.text, what="the warning")
        postgres.start()
        eventually(lambda: store.series.span(RUN) == (10, 12), what="the log point")
        recorder.close(RunState.STOPPED)

        run = store.runs.get(RUN)
        assert run is not None
        assert (run.started_at, run.config, run.state) == (begun.time, {"SCALE": 3}, RunState.STOPPED)
    assert "training starts, unseen until it is back" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_start_while_somebody_holds_the_run_is_told_to_the_server_later(store: Store, store_url: str) -> None:
    """As a trainer does whose machine is gone, until the server notices."""
    with store.run_transaction(RUN):
        writing, before = register_run(RunConfig(store_url=store_url), registration())

    assert before is None
    registration().in_store(writing)
    writing.close()


def test_a_start_with_a_wrong_address_ends_with_a_sentence(
    postgres: PostgresService, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.url(store_url.rpartition("/")[2], "falsch@1")

    with pytest.raises(SettingError, match=r"password authentication failed.*put STORE_URL right") as wrong:
        register_run(RunConfig(store_url=url), registration())

    assert "falsch" not in str(wrong.value)


def test_a_start_with_a_damaged_file_ends_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "leitstand.db").write_bytes(b"something else entirely" * 100)

    with pytest.raises(RunDirectoryError, match=r"not a database.*move leitstand.db away: records are safe"):
        register_run(RunConfig(data_root=tmp_path), registration())


def test_the_next_start_knows_what_the_last_trainer_told(store: Store, store_url: str) -> None:
    store.runs.update(RUN, facts={"checkpoint_step": 7})

    writing, before = register_run(RunConfig(store_url=store_url), registration())

    assert before == {"checkpoint_step": 7}
    writing.close()


def test_a_training_reports_to_the_server_and_is_steered_from_there(
    postgres: PostgresService, store_url: str, train: Callable[..., Training], eventually: Eventually
) -> None:
    """It starts while the server is away, loses it once more, and is stopped by a command."""
    postgres.stop()
    training = train(1, MAX_STEPS=1_000_000, VAL_STEP_EVERY=500, environment={"STORE_URL": store_url})
    with closing(Store(store_url)) as training.store:
        eventually(lambda: "unseen until it is back" in training.output, seconds=60, what="the warning")
        postgres.start()
        training.wait_for_step(1)
        (validated,) = training.ask(Kind.VALIDATE)
        assert validated.state is CommandState.DONE
        postgres.kill()
        postgres.start()
        (stopped,) = training.ask(Kind.STOP)

        assert stopped.state is CommandState.DONE
        assert training.end() == 0
        run = training.run()
        assert run is not None
        assert run.state is RunState.STOPPED
        assert training.store.records.get(run.id, validated.step or 0) is not None
        assert training.events("started") != []
    assert not (training.root / "leitstand.db").exists()
    assert PASSWORD not in training.output + (training.root / "training.log").read_text()
    assert PASSWORD not in (training.root / "config.json").read_text()

"""What is peculiar to a store on a PostgreSQL server: it can be away, refuse, be new, old, or shared by many."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import psycopg
import pytest
import sqlalchemy as sa

from service.commands import Kind
from service.config.settings import RunConfig
from service.errors import SettingError, UserError
from service.store import tables
from service.store.store import Store, StoreUnavailableError, open_store
from tests.postgres import PASSWORD, PostgresService, freeze_process

Eventually = Callable[..., None]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url, create=True, keep_open=True)
    store.open_run("run-1", {})
    yield store
    store.close()


@pytest.fixture
def stopped(postgres: PostgresService, store: Store) -> Iterator[Store]:
    """A store whose server has ended since."""
    postgres.kill()
    yield store
    postgres.start()


@pytest.fixture
def connect() -> Iterator[Callable[..., Store]]:
    """Another `Store`, closed in the end."""
    with ExitStack() as stack:
        yield lambda location, **how: stack.enter_context(closing(Store(location, **how)))


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


# Away


def test_a_server_that_ended_is_said_and_does_not_answer(stopped: Store) -> None:
    with pytest.raises(StoreUnavailableError, match="Connection refused"):
        stopped.runs.latest()

    assert not stopped.is_permanent_failure()
    assert stopped.exists()


def test_who_asks_for_changes_is_not_kept_waiting_by_a_server_that_is_away(stopped: Store) -> None:
    before = stopped.change_stamp("run-1")

    assert stopped.change_stamp("run-1") == before


def test_a_store_whose_server_came_back_goes_on_with_what_was_acknowledged(
    postgres: PostgresService, store: Store
) -> None:
    command = store.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="cli")
    postgres.kill()
    postgres.start()

    assert store.commands.get(command.id) == command
    store.runs.update("run-1", step=5)


def test_notices_are_heard_again_after_the_server_was_away(
    postgres: PostgresService,
    store: Store,
    store_url: str,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    connect: Callable[..., Store],
) -> None:
    monkeypatch.setattr("service.store.backends.postgres_listener.RETRY_SECONDS", 0.05)
    reader = connect(store_url)
    reader.change_stamp("run-1")
    eventually(lambda: reader.change_stamp("run-1") == (1, 0), what="the first connection")
    postgres.stop()
    postgres.start()

    eventually(lambda: reader.change_stamp("run-1") == (2, 0), what="the second connection")
    store.runs.update("run-1", step=5)
    eventually(lambda: reader.change_stamp("run-1") == (2, 1), what="the notice")


def test_notices_of_other_runs_are_left_out(
    store: Store, store_url: str, eventually: Eventually, connect: Callable[..., Store]
) -> None:
    reader = connect(store_url)
    reader.change_stamp("run-1")
    eventually(lambda: reader.change_stamp("run-1") == (1, 0), what="the connection")

    store.events.add("run-2", 1, "something", {})
    eventually(lambda: reader.change_stamp("run-2") == (1, 1), what="the notice")

    assert reader.change_stamp("run-1") == (1, 0)


def test_nobody_listens_for_whom_nobody_asks(
    store: Store, store_url: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.backends.postgres_listener.IDLE_SECONDS", 0.2)
    store.change_stamp("run-1")

    def listening() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "notices"]

    assert listening()
    eventually(lambda: not listening(), what="the end of the listening")


# Frozen, not dead


@pytest.fixture
def frozen(postgres: PostgresService, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store whose server has stood still since, and confirms what it is sent all the same."""
    monkeypatch.setattr("service.store.backends.postgres_connection.PING_AFTER_SECONDS", 0.1)
    monkeypatch.setattr("service.store.backends.postgres_connection.CONNECT_SECONDS", 2)
    postgres.freeze()
    yield store
    postgres.thaw()


def test_a_server_that_stands_still_is_said_and_is_used_again_once_it_goes_on(
    postgres: PostgresService, frozen: Store
) -> None:
    with pytest.raises(StoreUnavailableError, match=r"timeout expired|no answer"):
        frozen.runs.update("run-1", step=5)
    assert not frozen.is_permanent_failure()

    postgres.thaw()

    frozen.runs.update("run-1", step=6)
    assert (run := frozen.runs.get("run-1")) is not None
    assert run.step == 6


def test_a_server_that_stands_still_amid_a_transaction_is_said_and_keeps_nothing_of_it(
    postgres: PostgresService, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.backends.postgres_connection.PING_AFTER_SECONDS", 0.1)

    def freeze_amid() -> None:
        with store.transaction_scope():
            store.events.add("run-1", 1, "half", {})
            postgres.freeze()
            store.events.add("run-1", 2, "other half", {})

    with pytest.raises(StoreUnavailableError, match="no answer for"):
        freeze_amid()
    postgres.thaw()

    assert store.events.find("run-1", 0, 9) == []
    store.events.add("run-1", 3, "whole", {})


def test_a_server_that_answers_others_is_waited_for_longer_and_given_up_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.backends.postgres_connection.PING_AFTER_SECONDS", 0.05)
    with store.transaction() as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.5)"))  # slow, and no more than that
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    monkeypatch.setattr("service.store.backends.postgres_connection.RESPONSE_TIMEOUT_SECONDS", 0.5)
    freeze_process(pid)
    try:
        assert store.runs.get("run-1") is not None  # over another connection
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_the_server_is_still_keeping_is_waited_for_before_it_counts_as_lost(
    store: Store, store_url: str, eventually: Eventually
) -> None:
    """A trainer that lost its connection at the end of a transaction must not write all of it twice."""
    with psycopg.connect(store_url) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("UPDATE runs SET last_writing = 'abc'")
        asked = pool.submit(store.runs.has_write_marker, "run-1", "abc")
        eventually(lambda: asked.done() or waits_for_lock(store_url), what="the question")
        connection.commit()

        assert asked.result()


def waits_for_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(query).fetchone() is not None


def test_a_trainer_whose_machine_is_gone_does_not_keep_the_run_from_the_next(
    connect: Callable[..., Store], store: Store, store_url: str, eventually: Eventually
) -> None:
    gone = connect(store_url, busy_seconds=0.2)

    def goes_on_elsewhere() -> bool:
        try:
            store.events.add("run-1", 1, "going on", {})
        except StoreUnavailableError:
            return False
        return True

    with pytest.raises(StoreUnavailableError, match="idle-in-transaction"), gone.run_transaction("run-1"):
        eventually(goes_on_elsewhere, what="the next trainer's turn")


# Refusing


@pytest.mark.parametrize(
    "url", ["mysql://me:geheim@host/db", "postgresql://me:geheim@host:geheim/db", "geheim", "http://["]
)
def test_an_address_that_is_none_is_a_sentence_without_it(url: str, connect: Callable[..., Store]) -> None:
    with pytest.raises(SettingError) as wrong:
        connect(url)

    assert str(wrong.value) == (
        "STORE_URL is not the address of a PostgreSQL database; write postgresql://user:password@host:5432/name."
    )


def test_a_wrong_password_is_said_without_it_and_the_server_answers(
    postgres: PostgresService, store_url: str, connect: Callable[..., Store]
) -> None:
    store = connect(postgres.url(store_url.rpartition("/")[2], "falsch@1"))

    with pytest.raises(StoreUnavailableError, match="password authentication failed") as wrong:
        store.runs.latest()

    assert store.is_permanent_failure()
    assert "falsch" not in str(wrong.value)
    assert f"127.0.0.1:{postgres.port}" in store.location
    assert "leitstand:" not in store.location


def test_no_sentence_has_the_password(
    postgres: PostgresService, stopped: Store, store_url: str, connect: Callable[..., Store]
) -> None:
    sentences = [stopped.location]
    for url in (store_url, f"{store_url}?sslmode={PASSWORD}", f"{store_url}?password={PASSWORD}&sslmode={PASSWORD}"):
        with pytest.raises((StoreUnavailableError, UserError)) as wrong:
            connect(url).runs.all()
        sentences.append(str(wrong.value))

    assert all(PASSWORD not in sentence and "geheim" not in sentence for sentence in sentences)


def test_a_database_that_is_not_there_is_said(postgres: PostgresService, connect: Callable[..., Store]) -> None:
    postgres.start()

    with pytest.raises(StoreUnavailableError, match='database "nowhere" does not exist'):
        connect(postgres.url("nowhere")).runs.all()


def test_a_missing_driver_is_a_sentence_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., Store]
) -> None:
    monkeypatch.delitem(sys.modules, "service.store.backends.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(UserError, match=r"psycopg is not installed; install the extra leitstand\[postgres\]"):
        connect("postgresql://host/name")


def test_a_lock_that_is_held_too_long_is_said_after_the_time_allowed(
    store: Store, store_url: str, connect: Callable[..., Store]
) -> None:
    impatient = connect(store_url, busy_seconds=0.1)

    with store.run_transaction("run-1"), pytest.raises(StoreUnavailableError, match="lock timeout"):
        impatient.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="cli")

    assert impatient.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="cli").run_id == "run-1"


def test_options_in_the_address_are_added_to_ours(store_url: str, connect: Callable[..., Store]) -> None:
    own = connect(f"{store_url}?options=-c%20statement_timeout%3D7s%20-c%20work_mem%3D5MB", busy_seconds=0.5)

    with own.transaction() as connection:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "work_mem")
        shown = [connection.execute(sa.text(f"SHOW {name}")).scalar_one() for name in names]

    assert shown == ["500ms", "7s", "5s", "5MB"]


def test_runs_do_not_wait_for_each_other(store: Store, store_url: str, connect: Callable[..., Store]) -> None:
    impatient = connect(store_url, busy_seconds=0.1)

    with store.run_transaction("run-1"):
        impatient.commands.submit("run-2", Kind.PAUSE, {}, actor="eva", source="cli")

    assert len(store.commands.find("run-2")) == 1


# New and old


def test_many_trainers_may_come_first_to_a_new_database(store_url: str, connect: Callable[..., Store]) -> None:
    gate = threading.Barrier(8)

    def begin(number: int) -> None:
        store = connect(store_url, create=True, keep_open=True)
        gate.wait()
        store.open_run(f"run-{number}", {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(8)))

    assert {run.id for run in connect(store_url).runs.all()} == {f"run-{number}" for number in range(8)}


def test_a_new_database_is_an_empty_store_for_who_looks_first(store_url: str, connect: Callable[..., Store]) -> None:
    assert connect(store_url).runs.all() == []


def test_a_database_of_an_earlier_version_gets_what_it_lacks(
    store: Store, store_url: str, connect: Callable[..., Store]
) -> None:
    command = store.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="cli")
    execute(
        store_url,
        "ALTER TABLE runs DROP COLUMN facts, DROP COLUMN last_writing",
        "ALTER TABLE commands DROP COLUMN idempotency_key",  # and with it the index
        "DROP INDEX ix_events_run_id_id",
        "DROP TABLE series_summaries, series_progress, ranks",
    )

    later = connect(store_url)
    assert later.commands.get(command.id) == command
    again = [
        later.commands.submit("run-1", Kind.STOP, {}, actor="e", source="cli", idempotency_key="k") for _ in range(2)
    ]
    later.runs.update("run-1", facts={"has_perceptual": True})

    assert again[0].id == again[1].id
    with psycopg.connect(store_url) as connection:
        names = {row[0] for row in connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")}
    assert names >= {str(index.name) for table in tables.metadata.sorted_tables for index in table.indexes}


def test_a_database_that_was_emptied_gets_its_tables_at_the_second_try(store: Store, store_url: str) -> None:
    execute(store_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    with pytest.raises(StoreUnavailableError, match="does not exist"):
        store.runs.all()

    assert store.runs.all() == []


def test_a_key_is_unique_in_the_database_itself(store: Store, store_url: str) -> None:
    store.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="cli", idempotency_key="k")

    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(
            store_url,
            "INSERT INTO commands (id, run_id, kind, state, actor, source, created_at, arguments, idempotency_key) "
            "VALUES ('x', 'run-1', 'stop', 'queued', 'a', 'b', 1, '{}', 'k')",
        )


def test_the_setting_chooses_the_database(store: Store, store_url: str) -> None:
    config = RunConfig(store_url=store_url)

    opened = open_store(config)

    assert [run.id for run in opened.runs.all()] == ["run-1"]
    opened.close()

"""Stores of the version before a run's row named its owner, on either database."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.commands import CommandState, Kind
from service.run.state import RunState
from service.store.queries.runs import RunOwner, RunOwnership
from service.store.store import SeriesRow, Store
from service.store.tables import metadata
from tests.service.harness.old_store import write_store_without_owners

RUN = "run-1"


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    write_store_without_owners(location)
    with closing(Store(location, keep_open=True)) as store:
        yield store


def test_it_is_read_and_written_and_has_every_column(store: Store) -> None:
    assert (run := store.runs.get(RUN)) is not None
    assert (run.step, run.state, run.start_number, run.config) == (120, RunState.RUNNING, None, {"SCALE": 3})
    assert store.runs.ownership(RUN) == RunOwnership(None, None, None, 0, 1.0)
    store.runs.update(RUN, step=130)
    store.series.add(RUN, [SeriesRow(step, 1.0, {"loss": 1.0}) for step in range(200)])
    store.records.add(RUN, 130, {}, "0" * 64)

    assert store.runs.has_write_marker(RUN, "f00")
    with store.transaction() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            assert {column["name"] for column in inspector.get_columns(table.name)} == {it.name for it in table.columns}


def test_the_next_start_owns_the_run(store: Store) -> None:
    command = store.commands.submit(RUN, Kind.PAUSE, {}, actor="eva", source="cli")
    owner = RunOwner()

    assert store.open_run(RUN, {}, owner=owner) == 1

    assert (found := store.runs.ownership(RUN)) is not None
    assert (found.token, found.host, found.pid, found.start_number) == (owner.token, owner.host, owner.pid, 1)
    assert store.commands.begin(command.id, owner=owner.token)
    assert (begun := store.commands.get(command.id)) is not None
    assert begun.state is CommandState.RUNNING


def test_a_trainer_of_that_version_goes_on_in_the_store_of_this_one(location: Path | str, store: Store) -> None:
    """An API of this version has opened the store; the trainer writes no column that it does not know."""
    assert store.runs.get(RUN) is not None
    with store.transaction() as connection:
        for statement in (
            "UPDATE runs SET started_at=2.0, heartbeat_at=2.0, state='starting' WHERE id='run-1'",
            "INSERT INTO series_progress (run_id, summarised_to, names) VALUES ('run-1', 0, '{}')",
            "INSERT INTO runs (id, config, started_at, heartbeat_at, progress_at, step, state) "
            "VALUES ('run-2', '{}', 1.0, 1.0, 1.0, 0, 'starting')",
        ):
            connection.exec_driver_sql(statement)

    with closing(Store(location)) as other:
        assert {run.id for run in other.runs.all()} == {"run-1", "run-2"}

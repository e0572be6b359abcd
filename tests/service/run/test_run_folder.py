"""A run directory while its run is trained: the last checkpoint is noted, and a folder that vanishes is made again."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.run_folder import CHECK_SECONDS, RETRY_SECONDS, RunFolder


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.checkpoints.mkdir(parents=True)
    directory.write_identity(RunIdentity("aaaa"))
    directory.config.write_text("{}")
    return directory


def test_an_identity_is_read_as_it_was_written(directory: RunDirectory) -> None:
    identity = RunIdentity("bbbb", last_checkpoint=500)

    directory.write_identity(identity)

    assert directory.read_identity() == identity
    assert directory.run_id() == "bbbb"


def test_a_file_of_an_earlier_version_knows_no_checkpoint(directory: RunDirectory) -> None:
    directory.identity.write_text('{"run_id": "cccc"}')

    assert directory.read_identity() == RunIdentity("cccc")


def test_the_last_checkpoint_is_written_once(directory: RunDirectory) -> None:
    folder = RunFolder(directory, RunIdentity("aaaa"))
    folder.keep(0.0)
    assert not folder.is_pending
    folder.note_checkpoint(500)
    assert folder.is_pending

    folder.keep(0.0)

    assert json.loads(directory.identity.read_text())["last_checkpoint"] == 500
    assert not folder.is_pending


def test_a_file_that_cannot_be_written_is_said_once_and_tried_again(
    directory: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(directory, RunIdentity("aaaa"))
    folder.note_checkpoint(500)
    directory.identity.unlink()
    directory.identity.mkdir()  # a file cannot take its place
    folder.keep(10.0)
    folder.keep(10.0 + RETRY_SECONDS)
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "run.json cannot be written" in line.getMessage()

    directory.identity.rmdir()
    folder.keep(10.0 + 1.5 * RETRY_SECONDS)
    assert folder.is_pending
    folder.keep(10.0 + 2 * RETRY_SECONDS)
    folder.keep(10.0 + 2 * RETRY_SECONDS + CHECK_SECONDS)

    assert directory.read_identity() == RunIdentity("aaaa", 500)
    assert not list(directory.root.glob(".tmp-*"))


@pytest.mark.parametrize("way", ["moved or deleted", "emptied"])
def test_a_folder_that_is_gone_is_made_again_without_what_was_in_it(directory: RunDirectory, way: str) -> None:
    folder, told = RunFolder(directory, RunIdentity("aaaa", 500, init_from="a.pt")), list[str]()
    folder.keep(0.0, told.append)
    if way == "emptied":
        shutil.rmtree(directory.root)
        directory.root.mkdir()
    else:
        directory.root.rename(directory.root.with_name("elsewhere"))

    for seconds in (CHECK_SECONDS, 1.5 * CHECK_SECONDS):
        folder.keep(seconds, told.append)
        assert not directory.identity.exists()  # somebody may be moving or deleting the rest
    folder.keep(2 * CHECK_SECONDS, told.append)

    # No checkpoint is in it: a start before the next one may begin anew.
    assert directory.read_identity() == RunIdentity("aaaa", init_from="a.pt")
    assert directory.config.read_text() == "{}"
    (sentence,) = told
    assert sentence.startswith(f"{directory.root} was {way} while this run was trained. It was made again")
    folder.note_checkpoint(600)
    folder.keep(3 * CHECK_SECONDS, told.append)
    assert directory.read_identity() == RunIdentity("aaaa", 600, init_from="a.pt")
    assert len(told) == 1


def test_an_identity_alone_that_is_gone_is_written_again(
    directory: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    folder, told = RunFolder(directory, RunIdentity("aaaa", 500)), list[str]()
    directory.identity.unlink()

    folder.keep(0.0, told.append)
    folder.keep(CHECK_SECONDS, told.append)

    assert directory.read_identity() == RunIdentity("aaaa", 500)
    assert told == []
    assert "run.json was removed, and is written again" in caplog.text


def test_a_folder_that_cannot_be_made_again_is_said_once_and_tried_again(
    directory: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    folder, told = RunFolder(directory, RunIdentity("aaaa")), list[str]()
    shutil.rmtree(directory.root)
    directory.root.touch()  # a folder cannot take its place
    for number in range(4):
        folder.keep(number * RETRY_SECONDS, told.append)
    assert caplog.text.count("cannot be written") == 1
    assert told == []

    directory.root.unlink()
    folder.keep(4 * RETRY_SECONDS, told.append)

    assert len(told) == 1

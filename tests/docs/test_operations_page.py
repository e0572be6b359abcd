"""docs/operations.md: every state, key, command, file and variable that it names exists, and none is left out."""

import re
from pathlib import Path

import click
import pytest

from api.app import create_app
from ddp.checkpoint import MANIFEST_FILE, STATE_FILE
from ddp.logs import ForgivingFile
from ddp.recorder import LAST_CHANCE_SECONDS, LOG_POINTS_KEPT, RETRY_SECONDS
from ddp.signals import EXIT_CODE
from ddp.world import COLLECTIVE_TIMEOUT
from service.cli import leitstand
from service.run_directory import RunDirectory
from service.run_state import LOST_AFTER_SECONDS, STALLED_AFTER_SECONDS, RunState
from service.settings import RunConfig
from service.steering import LEGEND


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/operations.md").read_text()


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = heading.split()[0]
    _, _, rest = page.partition(f"\n{heading}\n")
    assert rest, heading
    return re.split(rf"^#{{2,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_every_state_has_one_row_and_no_other_does(page: str) -> None:
    rows = re.findall(r"^\| `([a-z]+)` \|", section(page, "## States"), re.MULTILINE)

    assert rows == [state.value for state in (*RunState,) if state.value in rows]
    assert sorted(rows) == sorted(state.value for state in RunState)


def test_states_that_take_commands_are_those_of_the_code(page: str) -> None:
    (sentence,) = re.findall(r"Commands are accepted while the state is ([^.]+)\.", page)

    assert set(re.findall(r"`([a-z]+)`", sentence)) == {state.value for state in RunState if state.has_trainer}


def test_every_key_is_explained(page: str) -> None:
    keys = set(re.findall(r"^\| `([a-z])`", page, re.MULTILINE))

    assert keys == set(re.findall(r"\b([a-z]) (?:validate|pause|checkpoint|leave)", LEGEND))


def test_every_command_and_option_that_is_named_exists(page: str) -> None:
    lines = set(re.findall(r"leitstand ([a-z]+(?: list)?)((?: --[a-z]+)*)", page))
    assert len(lines) > 10

    for words, options in lines:
        command: click.Command = leitstand
        for word in words.split():
            assert isinstance(command, click.Group)
            assert word in command.commands, words
            command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options.split()) <= known, (words, options)


def test_every_route_that_is_named_exists(page: str) -> None:
    adapter = create_app(RunConfig()).url_map.bind("127.0.0.1")
    named = {("GET", path) for path in re.findall(r"GET (/[a-z]+)", page)}
    for method, path in re.findall(r"curl -s [^\n]*?(-X POST )?http://127\.0\.0\.1:5050(/[^\s#]*)", page):
        named.add(("POST" if method else "GET", path))
    assert len(named) >= 5

    for method, path in named:
        adapter.match(path, method=method)  # raises when there is none


def test_numbers_are_those_of_the_code(page: str) -> None:
    assert f"for {STALLED_AFTER_SECONDS:.0f} s no step" in page
    assert f"no sign of life for {LOST_AFTER_SECONDS:.0f} s" in page
    assert f"after {COLLECTIVE_TIMEOUT.total_seconds() / 60:.0f} minutes" in page
    assert f"{LOG_POINTS_KEPT:,} log points".replace(",", " ") in page
    assert f"tries for {LAST_CHANCE_SECONDS:.0f} more seconds" in page
    assert RETRY_SECONDS == 2
    assert "every two seconds" in page
    assert str(EXIT_CODE) in section(page, "## Exit codes")


def test_run_directory_lists_what_a_run_writes(page: str) -> None:
    directory = RunDirectory(Path("run"))
    layout = section(page, "## The run directory")

    for path in (directory.store, directory.log, directory.config, directory.identity):
        assert path.name in layout
    for name in (directory.checkpoints.name, directory.previews.name, STATE_FILE, MANIFEST_FILE, "archive/", ".lock"):
        assert name in layout


def test_the_log_may_be_copied_and_truncated(tmp_path: Path) -> None:
    """What the page says of log rotation: the handler appends, so that it goes on at the new end."""
    import logging

    handler = ForgivingFile(tmp_path / "training.log")
    record = logging.LogRecord("test", logging.INFO, __file__, 1, "line", (), None)
    handler.emit(record)
    (tmp_path / "training.log").write_bytes(b"")

    handler.emit(record)
    handler.close()

    assert (tmp_path / "training.log").read_bytes() == b"line\n"


@pytest.mark.parametrize("name", ["operations.md", "configuration.md"])
def test_links_lead_somewhere(repository: Path, name: str) -> None:
    text = (repository / "docs" / name).read_text()
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}

    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (repository / "docs" / target).is_file(), target


@pytest.mark.parametrize("name", ["operations.md", "configuration.md"])
def test_files_of_the_repository_that_are_named_exist(repository: Path, name: str) -> None:
    text = (repository / "docs" / name).read_text()
    named = set(re.findall(r"\b(?:deploy|service|docs)/[\w./-]+\.\w+|docker-compose[\w.]*\.yml", text))

    assert named
    for path in named:
        assert (repository / path).is_file(), path

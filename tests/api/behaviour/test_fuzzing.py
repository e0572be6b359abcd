"""schemathesis plays the published contract against a real server: what it allows, and much that it does not."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from service.auth.tokens import TokenScope, create_token
from tests.api.harness.action_links import ACTION_SETTINGS
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.example_run import RUN_ID, write_provenance
from tests.api.harness.serving import REPOSITORY, Server, Serving
from tests.api.routes.run.test_previews import write_preview
from tests.api.routes.run.test_ranks import example_ranks
from tests.e2e.obedient import obeying
from tests.harness.forked import StartPython, starting_python

CONFIG = Path(__file__).parents[1] / "harness" / "fuzzing" / "settings.toml"
AGAIN = "examples,fuzzing,stateful"
"""Phases where another test goes through all values at the edge of what is allowed."""
PROGRAM = "import gc; gc.disable(); from schemathesis.cli import schemathesis; schemathesis()"
"""A fifth of its time would be spent looking for garbage."""
IMPORTED = (
    "api.events.messages", "api.http.pagination", "prometheus_client.openmetrics.parser", "schemathesis.cli",
    "schemathesis.cli.commands.run.executor",
)  # fmt: skip
NO_LIMIT = {
    "API_STREAMS": "48", "API_READS_PER_MINUTE": "1000000000", "API_COMMANDS_PER_MINUTE": "1000000", **ACTION_SETTINGS,
}  # fmt: skip


@pytest.fixture(scope="module")
def living_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run directory with something of everything, and a trainer that obeys."""
    root = tmp_path_factory.mktemp("fuzzed") / "run"
    with obeying(root) as store:
        store.ranks.replace(RUN_ID, example_ranks(time.time()))
        for step in (700, 1400):
            write_preview(root, step, "bikes_0001.webp")
            write_checkpoint(root, step, "latest", "best")
        write_provenance(root)
        (root / "training.log").write_text("a line\nanother\n")
        yield root


@pytest.fixture(scope="module")
def open_server(serving: Serving, living_run: Path) -> Iterator[Server]:
    with serving(living_run, **NO_LIMIT) as server:
        yield server


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens") / "tokens.json"


@pytest.fixture(scope="module")
def guarded_server(serving: Serving, living_run: Path, tokens: Path) -> Iterator[Server]:
    create_token(tokens, "first", TokenScope.READ)
    with serving(living_run, API_TOKENS=str(tokens), **NO_LIMIT) as server:
        yield server


Play = Callable[..., None]


@pytest.fixture(scope="module")
def play(is_forking: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Let schemathesis ask a server; fails with its report when one check does, or when the server met a defect."""
    with starting_python(*IMPORTED, is_forking=is_forking) as start:
        yield partial(play_with, start, tmp_path_factory.mktemp("hypothesis"))


def play_with(
    start_python: StartPython, storage: Path, server: Server, folder: Path, *options: str, token: str = ""
) -> None:
    config, report = folder / "fuzzing.toml", folder / "report.txt"
    config.write_text(CONFIG.read_text() + (f'[auth.openapi.token]\nbearer = "{token}"\n' if token else ""))
    command = [sys.executable, "-c", PROGRAM, "--no-color", f"--config-file={config}", "run"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(storage),  # what it finds out about Unicode takes seconds
        "TOKEN_IS_NEEDED": str(int(token != "")),
    }
    with report.open("w") as output:
        played = start_python(
            [*command, f"{server.url}/openapi.json", *options],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert played.wait() == 0, report.read_text()
    assert "Traceback" not in server.said()


def test_all_that_the_contract_allows_is_answered_as_it_says(play: Play, open_server: Server, tmp_path: Path) -> None:
    play(open_server, tmp_path, "--max-examples", "20")


def test_below_a_runs_name_the_same_holds(play: Play, open_server: Server, tmp_path: Path) -> None:
    document = requests.get(f"{open_server.url}/openapi.json", timeout=20).json()
    left_out = [
        f"--exclude-path={path}"
        for path, methods in document["paths"].items()
        if any("servers" in described for described in methods.values())  # of the whole room
    ]

    url = f"{open_server.url}/runs/{RUN_ID}"
    play(open_server, tmp_path, "--url", url, "--phases", AGAIN, "--max-examples", "5", *left_out)


def test_with_a_token_that_may_steer_the_same_holds_and_without_it_nothing_is_answered(
    play: Play, guarded_server: Server, tokens: Path, tmp_path: Path
) -> None:
    token = create_token(tokens, "fuzzing.control", TokenScope.CONTROL)

    play(guarded_server, tmp_path, "--phases", AGAIN, "--max-examples", "5", token=token)


def test_with_a_token_that_may_read_whatever_steers_is_refused_as_the_contract_says(
    play: Play, guarded_server: Server, tokens: Path, tmp_path: Path
) -> None:
    token = create_token(tokens, "fuzzing.read", TokenScope.READ)

    # Routes that answer nothing but 403 are what this token is for, so no warning of them.
    options = ("--phases", "examples,fuzzing", "--max-examples", "5", "--warnings", "off")
    play(guarded_server, tmp_path, *options, token=token)

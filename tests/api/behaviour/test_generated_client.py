"""A client that a generator makes from the contract, as people do, against a real server.

`openapi-python-client` leaves out what it does not understand and says so; with what it makes, every route is asked.
"""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from tests.api.conftest import keep_alive
from tests.api.harness.action_links import ACTION_SETTINGS, action_token
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.example_run import LAST_STEP, PROVENANCE_SHA256, RUN_ID, write_provenance, write_run
from tests.api.harness.serving import Server, Serving
from tests.api.routes.run.test_ranks import example_ranks

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"
PACKAGE = "leitstand_generated"
NOT_TYPED = {"previews_show"}
"""The generator knows no pictures: the answer's bytes are there, but `parsed` is None."""
ENDLESS = {"events_follow"}
PLACES: dict[str, dict[str, Any]] = {
    "actions_ask": {"token": action_token()},
    "documents_answer_schema": {"name": "Series"},
    "previews_show": {"step": LAST_STEP, "name": "bikes.webp"},
    "problems_explain": {"slug": "no-run"},
    "provenance_download": {"sha256": PROVENANCE_SHA256},
    "ranks_show_stack": {"rank": 1},
    "records_download": {"name": f"Statistik_{LAST_STEP}.json"},
    "series_show": {"names": "total_loss_value"},
    "comparison_compare": {"names": "quality_ki_value"},
}
"""Arguments of the operations that need some."""


def operations(method: str) -> dict[str, str]:
    """The tag of each operation of this HTTP method."""
    paths = json.loads(DOCUMENT.read_text())["paths"].values()
    return {path[method]["operationId"]: path[method]["tags"][0] for path in paths if method in path}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the generated client."""
    folder = tmp_path_factory.mktemp("generated")
    run = subprocess.run(
        [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta=none",
         f"--path={DOCUMENT}", f"--output-path={folder / PACKAGE}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    left_out = [line for line in run.stdout.splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert all("GET /previews/{step}/{name}" in line for line in left_out), run.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serving: Serving) -> Iterator[Server]:
    """A server of a run that has everything that there is to ask for."""
    root = tmp_path_factory.mktemp("run")
    with closing(write_run(root)) as store:
        keep_alive(store)
        store.ranks.replace(RUN_ID, example_ranks(time.time()))
    write_provenance(root)
    picture = root / "previews" / f"step_{LAST_STEP}" / "bikes.webp"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (3, 1)).save(picture)
    write_checkpoint(root, LAST_STEP)
    (root / "training.log").write_text("12:00:00 INFO step 4200\n")
    with serving(root, **ACTION_SETTINGS) as server:
        yield server


@pytest.fixture
def ask(generated: Callable[[str], ModuleType], server: Server) -> Callable[..., Any]:
    """Asks the server for an operation of the generated client."""

    def ask(operation: str, tag: str, **arguments: Any) -> Any:
        with generated("client").Client(base_url=server.url) as client:
            return generated(f"api.{tag}.{operation}").sync_detailed(client=client, **arguments)

    return ask


@pytest.mark.parametrize("operation", sorted(operations("get").keys() - ENDLESS - {"controls_show"}))
def test_it_reads_every_route(ask: Callable[..., Any], operation: str) -> None:
    answer = ask(operation, operations("get")[operation], **PLACES.get(operation, {}))

    assert answer.status_code == 200, answer.content
    assert answer.content
    assert (answer.parsed is None) is (operation in NOT_TYPED)


def test_its_answers_have_the_values(ask: Callable[..., Any]) -> None:
    state = ask("states_show", "states").parsed
    series = ask("series_show", "series", names="total_loss_value").parsed
    summaries = ask("series_show", "series", names="total_loss_value", points=10).parsed

    assert (state.step_live, state.run_state) == (LAST_STEP, "running")
    assert len(series.values["total_loss_value"]) == len(series.steps) > 0
    assert sum(summaries.series["total_loss_value"].counts) == len(series.steps)


@pytest.mark.parametrize("operation", sorted(operations("post").keys() - {"actions_use"}))
def test_it_gives_every_command(
    ask: Callable[..., Any], generated: Callable[[str], ModuleType], operation: str
) -> None:
    wanted: dict[str, Any] = {}
    if operation == "controls_preview":
        wanted["body"] = generated("models.preview_arguments").PreviewArguments.from_dict({"clip": "street.mp4"})
    given = ask(operation, "controls", apply_at_step=LAST_STEP + 1000, **wanted)
    assert given.status_code == 202, given.content

    shown = ask("controls_show", "controls", command_id=given.parsed.id)
    cancelled = ask("controls_cancel", "controls", command_id=given.parsed.id)

    assert shown.parsed.to_dict() == given.parsed.to_dict()
    assert operation.endswith(str(shown.parsed.kind))
    assert cancelled.parsed.state == "cancelled"


def test_it_uses_the_link_of_a_notification(ask: Callable[..., Any]) -> None:
    given = ask("actions_use", "actions", token=action_token())

    assert (given.status_code, given.parsed.kind, given.parsed.source) == (202, "pause", "notification")


def test_it_changes_settings(ask: Callable[..., Any], generated: Callable[[str], ModuleType]) -> None:
    change = generated("models.settings_change").SettingsChange.from_dict({"LR_SCALE": 0.5})

    tried = ask("controls_set", "controls", body=change, dry_run=True)
    given = ask("controls_set", "controls", body=change)
    wrong = generated("models.settings_change").SettingsChange.from_dict({"LR_SCALE": -1.0})
    refused = ask("controls_set", "controls", body=wrong)

    assert (tried.status_code, given.status_code, refused.status_code) == (200, 202, 422)
    assert given.parsed.arguments.to_dict() == {"LR_SCALE": 0.5}
    assert refused.parsed.errors[0].pointer == "#/LR_SCALE"

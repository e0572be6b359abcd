"""The factory, the shape of refusals, and what the process never loads."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.http.problem_types import PROBLEMS
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.store import Store
from tests.api.harness.example_run import write_run


def test_importing_the_app_loads_neither_torch_nor_the_trainer(repository: Path) -> None:
    code = "import sys, api.app; print(sorted({'torch', 'ddp', 'numpy'} & set(sys.modules)))"

    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=60, check=True
    )

    assert answer.stdout.strip() == "[]"


def test_without_settings_the_factory_reads_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run", last_step=100).close()
    (tmp_path / "run.toml").write_text(f'DATA_ROOT = "{tmp_path / "run"}"\n')
    monkeypatch.setenv("LEITSTAND_CONFIG", str(tmp_path / "run.toml"))

    assert create_app().test_client().get("/state").get_json()["step_live"] == 100
    monkeypatch.setenv("LEITSTAND_DATA_ROT", "x")
    with pytest.raises(SettingError, match="DATA_ROOT"):
        create_app()


def test_a_refusal_has_the_shape_of_rfc_9457(client: FlaskClient) -> None:
    answer = client.get("/no/such thing")

    assert answer.mimetype == "application/problem+json"
    assert answer.get_json() == {
        "type": "/problems/not-found",
        "title": PROBLEMS["not-found"].title,
        "status": 404,
        "detail": "There is no /no/such%20thing; /docs lists all routes.",
        "instance": "/no/such%20thing",
    }


def test_a_defect_is_a_problem_that_gives_nothing_away(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_context: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("api.runs.context.RunContext.run", fail)

    answer = create_app(RunConfig(data_root=root)).test_client().get("/state")

    assert (answer.status_code, answer.get_json()["type"]) == (500, "/problems/internal-error")
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", ["/state/", "/State", "/statistics/a/b", "/static/../app.py"])
def test_only_exact_paths_are_routes(client: FlaskClient, store: Store, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_reading_route_takes_no_other_method(client: FlaskClient, store: Store, method: str) -> None:
    answer = client.open("/state", method=method)

    assert (answer.status_code, answer.get_json()["type"]) == (405, "/problems/method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_answers_about_a_run_are_not_kept_by_caches(client: FlaskClient, store: Store) -> None:
    assert {client.get(path).headers["Cache-Control"] for path in ("/state", "/series", "/commands", "/metrics")} == {
        "no-store"
    }


def test_the_published_schema_accepts_the_records_served(client: FlaskClient, store: Store) -> None:
    answer = client.get("/schema/statistik.json")

    assert answer.mimetype == "application/schema+json"
    jsonschema.validate(client.get("/statistics/latest").get_json(), json.loads(answer.text))

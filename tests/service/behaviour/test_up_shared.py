"""`leitstand up` with STORE_URL: keys steer the run in DATA_ROOT, wherever it reports to."""

from pathlib import Path

import pytest

from service.cli import exit_code
from service.cli import up as up_module
from service.launcher.supervisor import LaunchPlan


@pytest.mark.parametrize("store_url", ["postgresql://eva:geheim@db.lan/leitstand", ""])
def test_up_looks_for_its_run_where_that_reports_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_url: str
) -> None:
    plans: list[LaunchPlan] = []

    class Supervisor:
        def __init__(self, plan: LaunchPlan, _echo: object) -> None:
            plans.append(plan)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(up_module, "Supervisor", Supervisor)
    monkeypatch.setenv("STORE_URL", store_url)
    (tmp_path / "data" / "Patches" / "GT").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"run_id": "ours"}')
    chosen = {"DATA_ROOT": tmp_path / "run", "DATASET_ROOT": tmp_path / "data", "API_PORT": 5051}

    settings = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]

    assert exit_code(["up", "--ranks", "1", *settings]) == 0

    (plan,) = plans
    assert plan.store == (store_url or tmp_path / "run" / "leitstand.db")
    assert (plan.run_id and plan.run_id()) == ("ours" if store_url else None)
    assert store_url == "" or store_url not in " ".join([*plan.trainer.command, *plan.api.command])

"""GET /statistics/compare."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.artifacts.records import columns
from api.routes.run.comparison import MAX_RUNS
from service.atomic_files import write_atomically
from service.config.settings import RunConfig
from service.run.record import encode_record, record_name
from service.store.store import Store
from tests.api.harness.example_run import RECORD_STEPS, RUN_ID, example_record

OTHER = "0ther-run.2"


def write_other_run(root: Path, steps: range, *, run_id: str = OTHER, quality: float = 0.5) -> None:
    """Another run with records at these steps, below `root`."""
    root.mkdir(parents=True)
    (root / "run.json").write_text(f'{{"run_id": "{run_id}"}}')
    store = Store(root / "leitstand.db", create=True)
    store.open_run(run_id, {"MAX_STEPS": 20_000})
    store.runs.update(run_id, started_at=1.0)
    store.close()
    for step in steps:
        record = example_record(step, 1.0, quality_ki_value=quality, run_id=run_id)
        write_atomically(root / record_name(step), encode_record(record))


@pytest.fixture
def both(root: Path, store: Store, tmp_path: Path) -> FlaskClient:
    """Asks an API of two runs; the other one has records at 1400, 2800 and 4200."""
    write_other_run(tmp_path / "others" / "a", range(1400, 4300, 1400))
    return create_app(RunConfig(data_root=root, run_roots=str(tmp_path / "others"))).test_client()


def test_a_step_of_two_runs_is_shown_side_by_side(both: FlaskClient) -> None:
    answer = both.get(f"/statistics/compare?runs={RUN_ID},{OTHER}&step=1400&names=quality_ki_value,per_rank").get_json()

    mine = example_record(1400, 1.0)
    assert answer == {
        "names": ["quality_ki_value", "per_rank"],
        "runs": [RUN_ID, OTHER],
        "records": [
            {
                "run_id": RUN_ID,
                "step": 1400,
                "values": {"quality_ki_value": mine["quality_ki_value"], "per_rank": mine["per_rank"]},
            },
            {"run_id": OTHER, "step": 1400, "values": {"quality_ki_value": 0.5, "per_rank": mine["per_rank"]}},
        ],
    }


def test_a_run_without_a_record_at_the_step_has_no_entry(both: FlaskClient) -> None:
    answer = both.get(f"/statistics/compare?runs={RUN_ID},{OTHER}&step=700").get_json()

    assert answer["runs"] == [RUN_ID, OTHER]
    assert [(row["run_id"], row["step"]) for row in answer["records"]] == [(RUN_ID, 700)]


def test_without_a_step_all_records_are_compared_by_run_and_step(both: FlaskClient) -> None:
    answer = both.get(f"/statistics/compare?runs={OTHER},{RUN_ID}").get_json()

    assert [(row["run_id"], row["step"]) for row in answer["records"]] == [
        *((OTHER, step) for step in (1400, 2800, 4200)),
        *((RUN_ID, step) for step in RECORD_STEPS),
    ]


def test_a_limit_keeps_the_latest_of_each_run(both: FlaskClient) -> None:
    answer = both.get(f"/statistics/compare?runs={RUN_ID},{OTHER}&limit=2").get_json()

    assert [row["step"] for row in answer["records"]] == [3500, 4200, 2800, 4200]


def test_a_record_that_was_changed_in_place_is_compared_anew_and_the_others_from_memory(
    both: FlaskClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/statistics/compare?runs={RUN_ID}&names=quality_ki_value"
    monkeypatch.setattr("api.artifacts.file_cache.TIMESTAMP_GRANULARITY_SECONDS", 0.0)
    before = both.get(path).get_json()["records"]
    read = []
    real = columns.read_record_content
    monkeypatch.setattr(columns, "read_record_content", lambda file: read.append(Path(file).name) or real(file))

    changed = root / record_name(RECORD_STEPS[0])
    changed.write_bytes(encode_record(example_record(RECORD_STEPS[0], 1.0, quality_ki_value=0.125)))
    after = both.get(path).get_json()["records"]

    assert read == [changed.name]
    assert after == [{**before[0], "values": {"quality_ki_value": 0.125}}, *before[1:]]


def test_the_latest_record_of_each_run_can_be_compared(both: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "others" / "a" / "Statistik_4200.json").unlink()

    answer = both.get(f"/statistics/compare?runs={RUN_ID},{OTHER}&step=latest").get_json()

    assert [row["step"] for row in answer["records"]] == [4200, 2800]


def test_without_runs_all_that_are_here_are_compared(both: FlaskClient) -> None:
    answer = both.get("/statistics/compare?step=latest").get_json()

    assert sorted(answer["runs"]) == sorted([RUN_ID, OTHER])
    assert answer["names"] == [
        "quality_ki_value", "quality_lr_value", "quality_improvement_value", "validation_loss_value", "psnr_ki_db",
    ]  # fmt: skip


def test_the_same_is_answered_below_a_runs_own_path(both: FlaskClient) -> None:
    query = f"statistics/compare?runs={RUN_ID},{OTHER}&step=1400"

    assert both.get(f"/runs/{OTHER}/{query}").get_json() == both.get(f"/{query}").get_json()


def test_below_an_unknown_run_there_is_nothing(both: FlaskClient) -> None:
    assert both.get(f"/runs/nobody/statistics/compare?runs={RUN_ID}").status_code == 404


def test_an_unknown_run_is_not_found_and_named(both: FlaskClient) -> None:
    answer = both.get(f"/statistics/compare?runs={RUN_ID},nobody")

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")
    assert "'nobody'" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("names=qualty_ki_value", "quality_ki_value"), ("names=step", "'step'"), ("runs=", "runs"),
        ("runs=a,,b", "runs"), ("runs=../etc", "runs"),
        (f"runs={','.join(map(str, range(MAX_RUNS + 1)))}", f"1 to {MAX_RUNS}"),
        ("step=-1", "step"), ("step=first", "latest"), ("step=", "step"), ("limit=0", "limit"), ("limit=1001", "1000"),
        ("run=a", "runs"),
    ],
)  # fmt: skip
def test_a_wrong_condition_is_refused(both: FlaskClient, query: str, named: str) -> None:
    answer = both.get(f"/statistics/compare?{query}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert named in answer.get_json()["detail"]


NESTED = encode_record({**example_record(1400, 1.0), "per_rank": "+"}).replace(b'"+"', b"[" * 600 + b"]" * 600)


@pytest.mark.parametrize("content", [b"{", NESTED])
def test_what_is_no_record_is_left_out(both: FlaskClient, root: Path, content: bytes) -> None:
    (root / "Statistik_1400.json").write_bytes(content)

    at_step = both.get(f"/statistics/compare?runs={RUN_ID}&step=1400&names=per_rank").get_json()
    over_all = both.get(f"/statistics/compare?runs={RUN_ID}&names=per_rank").get_json()

    assert at_step["records"] == []
    assert 1400 not in [row["step"] for row in over_all["records"]]


def test_more_than_fits_into_an_answer_is_refused_with_a_way_out(
    both: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.run.comparison.MAX_BYTES", 2000)
    url = f"/statistics/compare?runs={RUN_ID},{OTHER}"

    answer = both.get(f"{url}&names=per_rank")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert "limit=" in answer.get_json()["detail"]
    assert both.get(f"{url}&names=psnr_ki_db").status_code == 200


def test_a_directory_that_cannot_be_read_is_a_problem_not_a_crash(
    both: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("api.artifacts.records.files.DirectoryCache.current", refuse)

    assert both.get(f"/statistics/compare?runs={RUN_ID}").status_code == 503


def test_without_any_run_there_is_nothing_to_compare(make_client: Callable[..., FlaskClient]) -> None:
    assert make_client().get("/statistics/compare").get_json()["records"] == []

"""GET /ranks, GET /ranks/<n>/stack, and the command that shows them."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.cli import exit_code
from service.client.client import ApiError, Client
from service.store.queries.ranks import RankRow
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server

STACK = '  File "ddp/step/stepper.py", line 60, in make_step\n    batch = next(batches)  # für später\n'


def example_ranks(now: float) -> list[RankRow]:
    """Rank 1 hangs in its loader, rank 0 waits for it, rank 2 was never heard of."""
    first = RankRow(0, now - 0.5, "gpu-07", 4711, "cuda:0", "all-reduce", 512, 61.5, None, None)
    second = replace(first, rank=1, pid=4712, device="cuda:1", stage="data", stack=STACK, stacked_at=now - 0.5)
    return [first, second, RankRow(2, now - 30.0, None, None, None, "starting", None, 30.0, None, None)]


@pytest.fixture
def _ranks(store: Store) -> None:
    store.ranks.replace(RUN_ID, example_ranks(time.time()))


@on_both_databases
@pytest.mark.usefixtures("_ranks")
def test_every_rank_is_listed_with_what_it_does(client: FlaskClient) -> None:
    answer = client.get("/ranks").get_json()

    assert answer["run_id"] == RUN_ID
    ages = [entry.pop("age_seconds") for entry in answer["ranks"]]
    assert answer["ranks"] == [
        {"rank": 0, "host": "gpu-07", "pid": 4711, "device": "cuda:0", "stage": "all-reduce", "step": 512,
         "stage_seconds": 61.5, "has_stack": False},
        {"rank": 1, "host": "gpu-07", "pid": 4712, "device": "cuda:1", "stage": "data", "step": 512,
         "stage_seconds": 61.5, "has_stack": True},
        {"rank": 2, "host": None, "pid": None, "device": None, "stage": "starting", "step": None,
         "stage_seconds": 30.0, "has_stack": False},
    ]  # fmt: skip
    assert [0.5 <= ages[0] < 20, 30 <= ages[2] < 50] == [True, True]


def test_before_the_first_report_the_list_is_empty(client: FlaskClient, store: Store) -> None:
    assert client.get("/ranks").get_json() == {"run_id": RUN_ID, "ranks": []}


def test_a_clock_set_back_gives_no_negative_age(client: FlaskClient, store: Store) -> None:
    store.ranks.replace(RUN_ID, example_ranks(time.time() + 1000))

    assert [entry["age_seconds"] for entry in client.get("/ranks").get_json()["ranks"]] == [0.0, 0.0, 0.0]


@on_both_databases
@pytest.mark.usefixtures("_ranks")
def test_a_stack_is_plain_text_below_a_line_that_dates_it(client: FlaskClient) -> None:
    answer = client.get("/ranks/1/stack")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    first, _, rest = answer.text.partition("\n")
    assert first.startswith("# rank 1 (gpu-07, cuda:1, pid 4712): in stage data for 61.5 s at step 512, heard of ")
    taken = time.strftime("%Y-%m-%dT", time.gmtime())
    assert f"stack taken {taken}" in first or "T23:59" in first
    assert rest == STACK


@pytest.mark.usefixtures("_ranks")
@pytest.mark.parametrize("rank", ["7", "-1", "01", "x", "9" * 400])
def test_an_unknown_rank_is_refused_naming_those_there_are(client: FlaskClient, rank: str) -> None:
    answer = client.get(f"/ranks/{rank}/stack")

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")
    assert answer.get_json()["detail"] == f"There is no rank {rank!r}; there are: 0, 1, 2."


@pytest.mark.usefixtures("_ranks")
def test_a_rank_without_a_stack_yet_says_so(client: FlaskClient) -> None:
    answer = client.get("/ranks/0/stack")

    assert answer.status_code == 404
    assert answer.get_json()["detail"] == "Rank 0 has not sent a stack yet; ask again in ten seconds."


def test_a_stack_before_any_report_says_that_none_has_reported(client: FlaskClient, store: Store) -> None:
    assert "none has reported yet" in client.get("/ranks/0/stack").get_json()["detail"]


@pytest.mark.parametrize("path", ["/ranks", "/ranks/0/stack"])
def test_without_a_run_there_are_no_ranks(client: FlaskClient, path: str) -> None:
    assert (client.get(path).status_code, client.get(path).get_json()["type"]) == (503, "/problems/no-run")


@pytest.mark.parametrize("path", ["/ranks", "/ranks/0/stack"])
def test_a_token_is_asked_for_as_for_all_of_a_run(make_client: Callable[..., FlaskClient], path: str) -> None:
    assert make_client(api_token="secret").get(path).status_code == 401


# The client and the command, over a real server


@pytest.fixture
def url(server: Server, served_root: Path) -> str:
    store = Store(served_root / "leitstand.db")
    store.ranks.replace(RUN_ID, example_ranks(time.time()))
    store.close()
    return server.url


def test_the_client_gives_ranks_and_a_stack(url: str) -> None:
    with Client(url) as client:
        assert [entry["stage"] for entry in client.ranks()["ranks"]] == ["all-reduce", "data", "starting"]
        assert client.stack(1).endswith(STACK)
        with pytest.raises(ApiError, match=r"There is no rank '7'; there are: 0, 1, 2\.") as refusal:
            client.stack(7)
    assert refusal.value.status == 404


def test_the_command_shows_a_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["ranks", "--url", url]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["rank", "host", "pid", "device", "stage", "for", "step", "heard", "of"]
    assert lines[2][:9] == ["1", "gpu-07", "4712", "cuda:1", "data", "1", "min", "2", "s"]
    assert lines[3][:7] == ["2", "–", "–", "–", "starting", "30", "s"]


def test_the_command_shows_a_stack(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["ranks", "--url", url, "--stack", "1"]) == 0

    assert capsys.readouterr().out.endswith(STACK)


def test_the_command_gives_the_servers_answer_as_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["ranks", "--url", url, "--json"]) == 0

    assert len(json.loads(capsys.readouterr().out)["ranks"]) == 3


def test_the_command_refuses_in_one_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["ranks", "--url", url, "--stack", "7"]) == 2
    assert capsys.readouterr().err.startswith("Error: ")

    assert exit_code(["ranks", "--url", url, "--stack", "0", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["slug"] == "not-found"


def test_before_the_first_report_the_command_says_so(
    url: str, served_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(served_root / "leitstand.db")
    store.ranks.replace(RUN_ID, [])
    store.close()

    assert exit_code(["ranks", "--url", url]) == 0

    assert "No rank has reported yet" in capsys.readouterr().out

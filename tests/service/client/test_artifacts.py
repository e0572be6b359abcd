"""Lists that come in pages, curves, and which run is meant."""

from itertools import islice
from typing import Any

import pytest

from service.client.client import Client
from tests.service.harness.stand_in import Answer, StandIn, command, page


def record_page(steps: list[int], next_cursor: str | None = None, unreadable: tuple[str, ...] = ()) -> Answer:
    files = [{"name": name, "reason": "not JSON"} for name in unreadable]
    return page("records", [{"step": step} for step in steps], next_cursor, unreadable=files, count=5)


def steps_of(answer: Any) -> list[int]:
    return [entry["step"] for entry in answer["records"]]


def test_statistics_are_all_pages_as_one_list(server: StandIn) -> None:
    server.on("GET", "/statistics", record_page([1, 2], "a="), record_page([3, 4], "b=", ("x",)), record_page([5]))

    with Client(server.url) as client:
        answer = client.statistics()

    assert (steps_of(answer), answer["count"], answer["next_cursor"]) == ([1, 2, 3, 4, 5], 5, None)
    assert [file["name"] for file in answer["unreadable"]] == ["x"]
    assert server.targets == [
        "/statistics?order=asc&limit=1000",
        "/statistics?order=asc&limit=1000&cursor=a%3D",
        "/statistics?order=asc&limit=1000&cursor=b%3D",
    ]


def test_the_newest_statistics_ask_for_no_more_than_they_need(server: StandIn) -> None:
    server.on("GET", "/statistics", record_page([5, 4], "a", ("late",)), record_page([3, 2], "b", ("early",)))

    with Client(server.url) as client:
        answer = client.statistics(3)

    assert (steps_of(answer), answer["count"]) == ([3, 4, 5], 5)
    assert [file["name"] for file in answer["unreadable"]] == ["early", "late"]
    assert server.targets == ["/statistics?order=desc&limit=3", "/statistics?order=desc&limit=3&cursor=a"]


def test_more_of_the_newest_than_there_are_is_all(server: StandIn) -> None:
    server.on("GET", "/statistics", record_page([5, 4]))

    with Client(server.url) as client:
        assert steps_of(client.statistics(9)) == [4, 5]


def test_no_statistics_are_an_empty_list(server: StandIn) -> None:
    server.on("GET", "/statistics", page("records", [], unreadable=[], count=0))

    with Client(server.url) as client:
        assert client.statistics()["records"] == []
        assert client.statistics(5)["records"] == []


def test_records_are_fetched_only_as_far_as_they_are_looked_at(server: StandIn) -> None:
    server.on("GET", "/statistics", record_page([5, 4], "a"), record_page([3, 2], "b"))

    with Client(server.url) as client:
        assert [entry["step"] for entry in islice(client.records(newest_first=True), 3)] == [5, 4, 3]

    assert len(server.requests) == 2


def test_commands_are_asked_for_by_kind_state_and_person(server: StandIn) -> None:
    server.on("GET", "/commands", page("commands", [command("done")], "next"), page("commands", [command("failed")]))

    with Client(server.url) as client:
        found = list(client.commands(kind="validate", state="done", actor="eva@box", page_size=1))

    assert [entry["state"] for entry in found] == ["done", "failed"]
    assert server.targets == [
        "/commands?kind=validate&state=done&actor=eva%40box&limit=1",
        "/commands?kind=validate&state=done&actor=eva%40box&limit=1&cursor=next",
    ]


def test_previews_are_those_of_one_step(server: StandIn) -> None:
    server.on("GET", "/previews", page("previews", [{"step": 500}], "x"), page("previews", [{"step": 500}]))

    with Client(server.url) as client:
        assert len(list(client.previews(500))) == 2

    assert server.targets == ["/previews?step=500&limit=1000", "/previews?step=500&limit=1000&cursor=x"]


def test_series_and_envelope_ask_for_names_steps_and_points(server: StandIn) -> None:
    server.on("GET", "/series", Answer({"names": ["a"]}))

    with Client(server.url) as client:
        assert client.series(["total_loss_value", "psnr_ki_db"], 10, 20)["names"] == ["a"]
        client.series()
        client.envelope(["total_loss_value"], 50, last_step=9)

    assert server.targets == [
        "/series?names=total_loss_value%2Cpsnr_ki_db&from=10&to=20",
        "/series",
        "/series?names=total_loss_value&to=9&points=50",
    ]


def test_runs_are_compared_by_name(server: StandIn) -> None:
    server.on("GET", "/statistics/compare", Answer({"runs": ["a", "b"]}))

    with Client(server.url) as client:
        client.compare(["a", "b"], ["psnr_ki_db"], 500)
        client.compare(step="latest")
        client.compare(limit=5)

    assert server.targets == [
        "/statistics/compare?runs=a%2Cb&names=psnr_ki_db&step=500",
        "/statistics/compare?step=latest",
        "/statistics/compare?limit=5",
    ]


def test_a_named_run_is_meant_by_every_route_of_a_run_and_by_none_of_the_room(server: StandIn) -> None:
    for path in ("/state", "/statistics", "/commands"):
        server.on("GET", f"/runs/run%201{path}", page(path[1:].replace("statistics", "records"), []))
    server.on("POST", "/runs/run%201/stop", Answer(command(), 202))
    for path in ("/runs", "/livez", "/readyz"):
        server.on("GET", path, Answer({"runs": [], "skipped": [], "alive": True, "ready": True}))

    with Client(server.url, run="run 1") as client:
        client.state()
        assert not list(client.records())
        assert not list(client.commands())
        client.submit("stop")
        assert client.runs()["runs"] == []
        assert client.is_alive()
        assert client.is_ready()

    assert all(target.startswith("/runs/run%201/") for target in server.targets[:4])


def test_the_runs_of_all_pages_are_one_list(server: StandIn) -> None:
    pages = [
        {"runs": [{"run_id": name}], "skipped": [], "next_cursor": cursor} for name, cursor in (("b", "x"), ("a", None))
    ]
    server.on("GET", "/runs", *map(Answer, pages))

    with Client(server.url) as client:
        assert [run["run_id"] for run in client.runs()["runs"]] == ["b", "a"]

    assert server.targets == ["/runs?limit=1000", "/runs?limit=1000&cursor=x"]


def test_readiness_is_an_answer_too(server: StandIn) -> None:
    server.on("GET", "/readyz", Answer({"type": "/problems/no-trainer", "detail": "No trainer."}, 503))

    with Client(server.url) as client:
        assert client.is_ready() is False


@pytest.mark.parametrize(
    ("ask", "target"), [("log", "/logs?tail=5"), ("metrics", "/metrics"), ("stack", "/ranks/5/stack")]
)
def test_texts_come_as_texts(server: StandIn, ask: str, target: str) -> None:
    server.on("GET", target.partition("?")[0], Answer("läuft\n".encode(), headers={"Content-Type": "text/plain"}))

    with Client(server.url) as client:
        found = client.metrics() if ask == "metrics" else client.log(5) if ask == "log" else client.stack(5)

    assert found == "läuft\n"
    assert server.targets == [target]
    assert server.requests[0].headers["Accept"] == "text/plain"


def test_settings_come_with_the_tag_that_a_change_can_name(server: StandIn) -> None:
    server.on("GET", "/settings", Answer({"changes": {}}, headers={"ETag": '"abc"'}))
    server.on("PATCH", "/settings", Answer(command(kind="set"), 202))

    with Client(server.url) as client:
        settings, tag = client.tagged_settings()
        client.change_settings({"LR_SCALE": 0.5}, if_match=tag)
        client.change_settings({"LR_SCALE": 0.5})

    assert settings["changes"] == {}
    assert [request.headers.get("If-Match") for request in server.requests[1:]] == ['"abc"', None]

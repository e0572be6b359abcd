"""The client has a method for every route; which, is found by calling all of them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from api.app import create_app
from service.client.client import Client
from service.commands import Kind
from service.config.settings import RunConfig
from service.errors import UserError
from tests.service.harness.stand_in import Answer, Request, StandIn, serving

FOR_PEOPLE = {"/", "/docs", "/static/<path:filename>", "/actions/<token>"}
"""Routes that a browser asks for: pages and what belongs to them."""

CALLS: list[Callable[[Client], object]] = [
    Client.runs, Client.state, Client.settings, Client.ranks, Client.alerts, Client.log, Client.metrics,
    Client.is_alive, Client.is_ready, Client.openapi, Client.schema, Client.checkpoints, Client.series,
    Client.statistics, Client.record, Client.compare,
    lambda client: client.change_settings({"LR_SCALE": 1}),
    lambda client: client.schema("RecordList"),
    lambda client: client.problem("no-run"),
    lambda client: client.command("c0ffee"),
    lambda client: client.cancel("c0ffee"),
    lambda client: client.stack(1),
    lambda client: client.provenance("c0ffee"),
    lambda client: client.preview(500, "bikes.webp"),
    lambda client: next(client.previews()),
    lambda client: next(client.commands()),
    lambda client: next(client.events()),
    lambda client: next(client.event_log(["rollback", "set"])),
    *(lambda client, kind=kind: client.submit(kind) for kind in Kind),
]  # fmt: skip


@pytest.fixture
def asked() -> Iterator[StandIn]:
    """A server that refuses everything and remembers what it was asked."""

    class Refusing(StandIn):
        def answer(self, request: Request) -> Answer:
            self.requests.append(request)
            return Answer({"detail": "No."}, 404)

    stand_in = Refusing()
    with serving(stand_in):
        yield stand_in


def test_every_route_has_a_method_of_the_client_and_the_client_asks_for_no_other(
    asked: StandIn, tmp_path: Path
) -> None:
    with Client(asked.url) as client:
        for call in CALLS:
            with suppress(UserError):
                call(client)

    routes = create_app(RunConfig(data_root=tmp_path)).url_map
    served = {
        (rule.rule, method)
        for rule in routes.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith("/runs/") and rule.rule not in FOR_PEOPLE
    }
    adapter = routes.bind("127.0.0.1")
    reached = {(_rule(adapter, request), request.method) for request in asked.requests}
    assert reached == served


def _rule(adapter: MapAdapter, request: Request) -> str:
    """The rule of the route that a request reaches, or its path where it reaches none."""
    path = request.target.partition("?")[0]
    try:
        return adapter.match(path, request.method, return_rule=True)[0].rule
    except HTTPException:
        return path

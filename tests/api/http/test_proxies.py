"""Which prefix of a path is believed, and from whom."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from service.store.store import Store

TOKEN = "chosen"
MakeClient = Callable[..., FlaskClient]


def location(client: FlaskClient, prefix: str) -> str:
    """Where a command is to be found, as the answer to a request with this prefix says."""
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-Prefix": prefix}
    return client.post("/validate", headers=headers).headers["Location"].partition("/commands/")[0]


@pytest.mark.parametrize(
    ("proxies", "named", "believed"),
    [
        (0, "/room", ""),
        (1, "", ""),
        (1, "/room", "/room"),
        (1, "/room/", "/room"),
        (1, "/user/eva%40lab/proxy/5050", "/user/eva%40lab/proxy/5050"),
        (1, "/claimed, /room", "/room"),
        (2, "/outer, /inner", "/outer/inner"),
        (2, "/claimed, /outer, /inner", "/outer/inner"),
        (2, "/room", "/room"),
        (1, "/", ""),
    ],
)
def test_as_many_proxies_as_are_named_may_name_a_prefix(
    make_client: MakeClient, store: Store, proxies: int, named: str, believed: str
) -> None:
    assert location(make_client(api_token=TOKEN, api_proxies=proxies), named) == believed


@pytest.mark.parametrize(
    "named", ["//evil.example", "https://evil.example", "room", "/a/../b", "/a/./b", "/a//b", "/a?b", "/%zz", "/\\evil"]
)
def test_what_is_no_path_is_no_prefix(make_client: MakeClient, store: Store, named: str) -> None:
    assert location(make_client(api_token=TOKEN, api_proxies=1), named) == ""


def test_the_contract_names_servers_below_the_prefix(make_client: MakeClient) -> None:
    client = make_client(api_token=TOKEN, api_proxies=1)

    for prefix in ("", "/room"):
        document = client.get("/openapi.json", headers={"X-Forwarded-Prefix": prefix}).get_json()
        assert [server["url"] for server in document["servers"]] == [f"{prefix}/", f"{prefix}/runs/{{run}}"]
        assert document["paths"]["/livez"]["get"]["servers"] == [{"url": f"{prefix}/"}]

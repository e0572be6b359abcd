"""What torchrun is told on one of several machines. Two real ones: `tests/deploy/hosts`."""

import socket

import pytest

from service.errors import SettingError
from service.launcher.machines.nodes import ENDPOINT, INTERFACE, OWN_STORES, Nodes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("number", ["0", "2:1", "two", "", "1:2:3", "-1"])
def test_a_number_of_machines_that_is_none_is_named(number: str) -> None:
    with pytest.raises(SettingError, match=f"--nnodes is '{number}'"):
        Nodes(number, "10.0.0.1:29400")


@pytest.mark.parametrize("endpoint", ["10.0.0.1:port", "a b:1", ":29400", "fe80::1"])
def test_an_endpoint_that_is_none_is_named(endpoint: str) -> None:
    with pytest.raises(SettingError, match=f"--rdzv-endpoint is '{endpoint}'"):
        Nodes("2", endpoint)


def test_the_machine_of_the_endpoint_is_told_that_it_is() -> None:
    assert Nodes("1:2", "127.0.0.1").launcher_options({"PET_RDZV_CONF": "join_timeout=9"}) == [
        "--nnodes=1:2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:29400", "--rdzv-id=leitstand",
        "--rdzv-conf=is_host=true,join_timeout=9", "--local-addr=127.0.0.1",
    ]  # fmt: skip


def test_ranks_get_the_endpoint_and_the_interface_and_what_is_set_stays() -> None:
    nodes = Nodes("2", "127.0.0.1:4000")

    assert nodes.variables({}) == {OWN_STORES: "1", INTERFACE: "lo", ENDPOINT: "127.0.0.1:4000"}
    assert nodes.variables({INTERFACE: "eth7", OWN_STORES: "0"}) == {ENDPOINT: "127.0.0.1:4000"}


def test_an_endpoint_without_an_address_is_one_sentence() -> None:
    with pytest.raises(SettingError, match=r"'no-such-machine\.invalid' has no IPv4 address here"):
        Nodes("2", "no-such-machine.invalid").launcher_options({})


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SettingError, match="is taken"):
        Nodes("2", f"127.0.0.1:{listener.getsockname()[1]}").check({}, 60)


def test_the_switch_that_a_returning_machine_needs_is_missed() -> None:
    with pytest.raises(SettingError, match=f"{OWN_STORES} is not 1"):
        Nodes("2", f"127.0.0.1:{free_port()}").check({OWN_STORES: "0"}, 60)

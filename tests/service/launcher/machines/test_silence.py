"""Which connections end by silence. That they do: `bench/kills/hosts.py`."""

import os
import socket

import pytest

from service.launcher.machines.silence import SILENCE_SECONDS, limit_silence


def user_timeout(connection: socket.socket) -> int:
    """Milliseconds; 0 for the kernel's own."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_only_connections_to_other_addresses_are_limited_and_no_file_is_left_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as to_itself,
        socket.create_connection(server.getsockname(), source_address=("127.0.0.9", 0)) as to_another,
    ):
        before = os.listdir("/proc/self/fd")

        assert limit_silence() == 1
        assert os.listdir("/proc/self/fd") == before
        assert (user_timeout(to_another), user_timeout(to_itself), user_timeout(server)) == (
            1000 * SILENCE_SECONDS,
            0,
            0,
        )


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_socket_without_a_peer_stays_as_it_is(kind: socket.SocketKind) -> None:
    with socket.socket(type=kind):
        assert limit_silence() == 0

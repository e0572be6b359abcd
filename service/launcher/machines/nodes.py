"""Several machines that train together: what torchrun has to be told on each, so that they find each other.

torchrun's own guesses fail on common machines: Debian resolves a machine's own name to loopback, so that no torchrun
takes itself for the one that the others meet at, and gloo offers the others an address that leads them to themselves.
"""

import fcntl
import ipaddress
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from service.errors import SettingError

ENDPOINT = "TORCHRUN_ENDPOINT"
"""Variable by which ranks learn where torchrun keeps its store, which outlives them."""
OWN_STORES = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""torch's switch for a new store at each start of the ranks. Without it (torch 2.13), a machine that returns waits 60
seconds for an address that nobody writes again, and ends the run for all."""
INTERFACE = "GLOO_SOCKET_IFNAME"
CONFIGURATION = "PET_RDZV_CONF"
"""torchrun's variable for details of the rendezvous, such as `last_call_timeout=5`."""
DEFAULT_PORT = 29400
SIOCGIFADDR = 0x8915
"""Linux's request for the IPv4 address of an interface."""
MEETING_FAILURES = ("RendezvousConnectionError", "RendezvousTimeoutError", "DistNetworkError", "DistStoreError")
"""Names of torch's errors that say that the machines have not met, or no longer do."""
NOT_MET = 1
"""Exit code then."""


@dataclass(frozen=True)
class Nodes:
    """How many machines train together, `2` or `1:2` (at least and at most), and where they meet, `HOST:PORT`."""

    number: str
    endpoint: str

    def __post_init__(self) -> None:
        bounds = re.fullmatch(r"(\d+)(?::(\d+))?", self.number)
        if bounds is None or not 1 <= int(bounds[1]) <= int(bounds[2] or bounds[1]):
            raise SettingError(f"--nnodes is {self.number!r}, but must be a number from 1, or two as in 1:2.")
        if re.fullmatch(r"[^:\s]+(:\d{1,5})?", self.endpoint) is None:
            raise SettingError(
                f"--rdzv-endpoint is {self.endpoint!r}, but must be HOST:PORT, with the address of one of the machines."
            )

    @property
    def host(self) -> str:
        """The host of the endpoint."""
        return self.endpoint.partition(":")[0]

    @property
    def port(self) -> int:
        """The port of the endpoint."""
        return int(self.endpoint.partition(":")[2] or DEFAULT_PORT)

    def launcher_options(self, environment: Mapping[str, str]) -> list[str]:
        """Return torchrun's options on this machine, which keep what PET_RDZV_CONF says.

        Raises `SettingError` if the endpoint cannot be the one of all.
        """
        address, given = self.resolve(), environment.get(CONFIGURATION, "")
        own = [f"--rdzv-conf={','.join(filter(None, ['is_host=true', given]))}"] if _is_own(address) else []
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={self.host}:{self.port}", "--rdzv-id=leitstand"]
        return [f"--nnodes={self.number}", *meeting, *own, f"--local-addr={_own_address_towards(address)}"]

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables that torchrun and the ranks need on this machine; what is set already stays.

        Raises `SettingError` as `launcher_options`.
        """
        address = self.resolve()
        interface = _interface_of(_own_address_towards(address))
        added = {OWN_STORES: "1", **({INTERFACE: interface} if interface else {})}
        unset = {name: value for name, value in added.items() if name not in environment}
        return {**unset, ENDPOINT: f"{address}:{self.port}"}

    def resolve(self) -> str:
        """Return the address of the endpoint. Raises `SettingError` if it has none that all machines could use."""
        try:
            address = str(socket.getaddrinfo(self.host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            raise SettingError(
                f"--rdzv-endpoint {self.host!r} has no IPv4 address here ({error.strerror}): give an address, or add "
                "the name to /etc/hosts of this machine."
            ) from None
        if ipaddress.ip_address(address).is_loopback and self.host not in {"localhost", address}:
            raise SettingError(
                f"--rdzv-endpoint {self.host!r} is {address} on this machine, which leads the others to themselves: "
                "give this machine's address in their network instead, on all of them."
            )
        return address

    def check(self, environment: Mapping[str, str], timeout_seconds: float) -> str:
        """Return this machine's part; `timeout_seconds` is how long ranks wait for each other.

        Raises `SettingError` if the machines would not find each other.
        """
        address = self.resolve()
        own_address = _own_address_towards(address)
        if _is_own(address):
            _require_free(address, self.port)
            parts = ["this one keeps the store: when it is lost, the run ends on all"]
        else:
            _require_answer(address, self.port)
            parts = [f"{address} keeps the store and answers"]
        if environment.get(OWN_STORES, "1") != "1":
            raise SettingError(f"{OWN_STORES} is not 1: a machine that returns would end the run; unset it.")
        if own_address < address:  # torch sorts them as text
            parts.append(
                f"rank 0 is here, as {own_address} sorts first: DATA_ROOT must be the same folder on all machines"
            )
        parts.append(f"gloo uses {environment.get(INTERFACE) or _interface_of(own_address) or 'what it guesses'}")
        parts.append(f"a lost machine is noticed after {timeout_seconds:.0f} s (COLLECTIVE_TIMEOUT_SECONDS)")
        return f"{self.number} meet at {self.host}:{self.port}; {'; '.join(parts)}"


def _is_own(address: str) -> bool:
    """Return True if the address is one of this machine's: a socket can be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _own_address_towards(address: str) -> str:
    """Return this machine's address on the way to another. Raises `SettingError` if no way leads there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, DEFAULT_PORT))  # sends nothing
        except OSError as error:
            raise SettingError(f"No network of this machine leads to --rdzv-endpoint {address} ({error}).") from None
        return str(probe.getsockname()[0])


def _interface_of(address: str) -> str | None:
    """Return the name of the interface that has an address, or None where that cannot be found out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def _require_free(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise SettingError(f"Port {port} of --rdzv-endpoint is taken ({error.strerror}); choose another.") from None


def _require_answer(address: str, port: int) -> None:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError as error:
        raise SettingError(
            f"--rdzv-endpoint {address}:{port} does not answer ({error}): start that machine first, and "
            "let its firewall accept connections from the others, at all ports."
        ) from None


def say_why_not_met(error: Exception) -> int:
    """Say on stderr why this machine does not train with the others; return the exit code."""
    endpoint, cause = os.environ[ENDPOINT], str(error.__cause__ or error).partition("\n")[0]
    if type(error).__name__ == "RendezvousTimeoutError":
        what, where = f"Too few machines came to {endpoint} in time", "and on the others"
    else:
        what, where = f"torchrun's store at {endpoint} is lost ({cause})", "and on its machine if it has ended there"
    sys.stderr.write(f"Error: {what}, so this one does not train: start it again with --resume, here {where}.\n")
    return NOT_MET

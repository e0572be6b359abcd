"""Machines of one's own: network namespaces with addresses and host names, joined by a switch in a namespace.

Each has a name, `box1` and so on, an address in 10.77.0.0/24 and one interface, `eth0`. They share processes and files
with this machine, but not its network: nothing that they send leaves their namespaces. As on Debian, a machine's own
name resolves to loopback on it, and to its address on the others.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, NETWORK = "leitstand", "10.77.0"
INTERFACE = "eth0"
PROGRAMS = ("ip", "unshare", "mount", "hostname")
ENTER = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
"""What a shell in a machine's namespaces does before it becomes the program."""
KILL_SECONDS = 30.0


class Machine:
    """One machine."""

    def __init__(self, namespace: str, number: int, folder: Path, count: int) -> None:
        self._namespace = namespace
        self.name, self.address = _name(number), _address(number)
        self._hosts = folder / f"hosts-{number}"
        own = [f"127.0.1.1 {self.name}"]
        others = [f"{_address(other)} {_name(other)}" for other in range(1, count + 1) if other != number]
        self._hosts.write_text("\n".join(["127.0.0.1 localhost", *own, *others, ""]))

    def command(self, *command: str) -> list[str]:
        """The command line that runs a program on this machine; the process that starts it becomes the program."""
        enter = ["unshare", "--uts", "sh", "-c", ENTER, "sh", self.name, str(self._hosts)]
        return ["ip", "netns", "exec", self._namespace, *enter, *command]

    def cut(self) -> None:
        """Pull its cable: packets are lost, and nobody is told."""
        self._set_link("down")

    def mend(self) -> None:
        """Put the cable back."""
        self._set_link("up")

    def slow_down(self, *discipline: str) -> None:
        """Let a queueing discipline of tc hold back what it sends: `tbf rate 256kbit burst 4kb latency 200ms`."""
        _run("tc", "-n", self._namespace, "qdisc", "replace", "dev", INTERFACE, "root", *discipline)

    def kill(self) -> None:
        """Kill every process on it, at once, as a loss of power does."""
        self.cut()  # so that nobody hears of it
        kill_processes(self._namespace)

    def _set_link(self, state: str) -> None:
        _run("ip", "-n", _switch(self._namespace), "link", "set", f"port{self.name[3:]}", state)


def missing() -> str:
    """Why no machines can be made here, or nothing."""
    if absent := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"not installed: {', '.join(absent)}"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    with tempfile.TemporaryDirectory() as folder, suppress(OSError):
        try:
            with machines(1, Path(folder)) as (machine,):
                subprocess.run(machine.command("true"), capture_output=True, text=True, check=True)
        except subprocess.CalledProcessError as error:
            return f"namespaces cannot be made: {error.stderr.strip()}"
    return ""


@contextmanager
def machines(count: int, folder: Path) -> Iterator[list[Machine]]:
    """Make so many machines, and remove them with all that runs on them; `folder` takes their files."""
    remove_leftovers()
    own = f"{PREFIX}-{os.getpid()}-{os.urandom(3).hex()}"
    try:
        _add_namespace(f"{own}-0")
        _run("ip", "-n", f"{own}-0", "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", f"{own}-0", "link", "set", "bridge", "up")
        for number in range(1, count + 1):
            _connect(f"{own}-{number}", f"{own}-0", number)
        yield [Machine(f"{own}-{number}", number, folder, count) for number in range(1, count + 1)]
    finally:
        _remove(name for name in _namespaces() if name.startswith(f"{own}-"))


def remove_leftovers() -> None:
    """Remove the machines of processes that were killed before they could."""
    _remove(name for name in _namespaces() if not Path("/proc", name.split("-")[1]).exists())


def kill_processes(namespace: str) -> None:
    """Kill all that runs in a namespace, until nothing does."""
    while pids := _output("ip", "netns", "pids", namespace).split():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), 9)


def _connect(namespace: str, switch: str, number: int) -> None:
    """Make a machine's namespace, with an interface that is joined to the switch."""
    _add_namespace(namespace)
    port = ["dev", f"port{number}"]
    _run(
        "ip", "-n", switch, "link", "add", port[1], "type", "veth", "peer", "name", INTERFACE, "netns", namespace,
    )  # fmt: skip
    _run("ip", "-n", switch, "link", "set", *port, "master", "bridge", "up")
    _run("ip", "-n", namespace, "address", "add", f"{_address(number)}/24", "dev", INTERFACE)
    _run("ip", "-n", namespace, "link", "set", INTERFACE, "up")


def _add_namespace(name: str) -> None:
    _run("ip", "netns", "add", name)
    _run("ip", "-n", name, "link", "set", "lo", "up")


def _remove(names: Iterator[str]) -> None:
    for name in list(names):
        kill_processes(name)
        _run("ip", "netns", "delete", name)


def _namespaces() -> list[str]:
    lines = _output("ip", "netns", "list").splitlines()
    return [line.split()[0] for line in lines if line.startswith(f"{PREFIX}-")]


def _switch(namespace: str) -> str:
    return f"{namespace.rpartition('-')[0]}-0"


def _name(number: int) -> str:
    return f"box{number}"


def _address(number: int) -> str:
    return f"{NETWORK}.{number}"


def _run(*command: str) -> None:
    _output(*command)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

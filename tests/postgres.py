"""A real PostgreSQL server on a free port of loopback: one for all tests, each with a database of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest

PASSWORD = "geheim/w@rt:7"  # signs that a URL must quote
LOOPBACK = "127.0.0.1"
Enter = Callable[[list[str]], list[str]]
START_SECONDS = 60.0
FREEZE_SECONDS = 30.0


class PostgresService:
    """A server with its data in a folder; it may be stopped, killed and started again."""

    def __init__(self, programs: Path, folder: Path, address: str = LOOPBACK, enter: Enter = list) -> None:
        """Serve at `address`, which is that of the machine on which `enter` runs a command line."""
        self._programs = programs
        self._folder = folder
        self._address, self._enter = address, enter
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self.port = _free_port()
        folder.chmod(0o755)
        # The server refuses to run as root.
        self._account: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if self._account:
            shutil.chown(folder, **self._account)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        access = ["--username=leitstand", "--auth=scram-sha-256", f"--pwfile={secret}"]
        self._run("initdb", f"--pgdata={folder / 'data'}", "--no-sync", "--encoding=UTF8", "--locale=C", *access)
        if address != LOOPBACK:
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet scram-sha-256\n")

    def url(self, database: str, password: str = PASSWORD) -> str:
        """The address of one database, as STORE_URL takes it."""
        return f"postgresql://leitstand:{quote(password, safe='')}@{self._address}:{self.port}/{database}"

    def own_url(self, database: str) -> str:
        """The address of one database for this process, wherever the server runs: they share files."""
        if self._address == LOOPBACK:
            return self.url(database)
        socket_folder = quote(str(self._folder), safe="")
        return f"postgresql://leitstand:{quote(PASSWORD, safe='')}@/{database}?host={socket_folder}&port={self.port}"

    def program(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs of the server's version."""
        return self._programs / name

    def start(self) -> None:
        """Start it unless it runs, or let it go on, and wait until it answers."""
        self.thaw()
        if self._process is not None and self._process.poll() is None:
            return
        # Without fsync a power cut would cost data, a process that is killed costs none.
        settings = (f"listen_addresses={self._address}", "shared_buffers=16MB", "fsync=off")
        options = ["-D", "data", "-p", str(self.port), *(part for setting in settings for part in ("-c", setting))]
        account = [f"--{kind}={name}" for kind, name in zip(("reuid", "regid"), self._account.values(), strict=False)]
        as_postgres = ["setpriv", *account, "--clear-groups"] if account else []
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._enter([*as_postgres, str(self._programs / "postgres"), *options, "-k", str(self._folder)]),
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._await_answer()

    def stop(self) -> None:
        """End it in order; connections are cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would: what was committed is found again at the next start."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Stop all its processes where they are: the system goes on confirming what they are sent."""
        assert self._process is not None
        self._frozen = [self._process.pid]
        freeze_process(self._process.pid)  # first: it starts no other, and one that ends stays a zombie
        for child in psutil.Process(self._process.pid).children():
            self._frozen.append(child.pid)
            freeze_process(child.pid)

    def thaw(self) -> None:
        """Let them go on."""
        while self._frozen:
            with suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)

    def new_database(self) -> str:
        """Make an empty database; returns its address."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.own_url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        with psycopg.connect(self.own_url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)'.encode())

    def _end(self, how: signal.Signals) -> None:
        self.thaw()
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments], cwd=self._folder, check=True, capture_output=True, **self._account
        )

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.own_url("postgres"), connect_timeout=3).close()
            except psycopg.OperationalError:
                log = (self._folder / "server.log").read_text(errors="replace")
                assert self._process is not None
                assert self._process.poll() is None, f"PostgreSQL ended at once:\n{log}"
                assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{log}"
                time.sleep(0.05)
            else:
                return


def freeze_process(pid: int) -> None:
    """Stop every thread of a process, of this one's children or not; it is stopped, or has ended, when this returns."""
    deadline = time.monotonic() + FREEZE_SECONDS
    os.kill(pid, signal.SIGSTOP)
    while (status := psutil.Process(pid).status()) not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} is not stopped, but {status}")
        time.sleep(0.001)
        os.kill(pid, signal.SIGSTOP)  # it may have been continued meanwhile


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _programs() -> Path | None:
    """The folder of the newest server's programs: in PATH, or where Debian puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def postgres_service(address: str = LOOPBACK, enter: Enter = list) -> Iterator[PostgresService]:
    """A server of its own, with its data in a temporary folder; raises `FileNotFoundError` without its programs.

    At another `address`, `enter` makes of a command line one that runs on that address's machine.
    """
    programs = _programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL's server programs are not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="leitstand-postgres-"))
    service = PostgresService(programs, folder, address, enter)
    try:
        service.start()
        yield service
    finally:
        service.kill()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresService]:
    """The server of all tests. One that stops it starts it again."""
    if _programs() is None:
        pytest.skip("PostgreSQL's server programs are not installed (Debian: postgresql)")
    with postgres_service() as service:
        yield service


@pytest.fixture
def store_url(postgres: PostgresService) -> Iterator[str]:
    """The address of an empty database of this test's own, as STORE_URL takes it."""
    postgres.start()
    url = postgres.new_database()
    yield url
    postgres.start()
    postgres.drop_database(url)

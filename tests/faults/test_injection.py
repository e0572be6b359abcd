"""The shim does what its page says, to the calls and the process that it names, and to no others."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.injection import ANY_PROCESS, ENDLESS, NO_RANK, Action, CallFault, FaultPage, Operation, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"no faults can be injected: {missing()}")

WRITES = """
import os, sys
for name in sys.argv[1:]:
    try:
        with open(name, "wb", buffering=0) as file:
            file.write(b"0123456789")
            os.fsync(file.fileno())
        os.replace(name, name + ".done")
        print("done")
    except OSError as error:
        print(error.errno)
"""


@pytest.fixture
def page(tmp_path: Path) -> FaultPage:
    return FaultPage(tmp_path)


def run(page: FaultPage, code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A small program under the shim."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)],
        env={**os.environ, **page.environment, **environment}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "pattern"),
    [
        (Operation.OPEN, "*/b"), (Operation.WRITE, "*/b"), (Operation.SYNC, "*/b"), (Operation.RENAME, "*/b.done"),
    ],
)  # fmt: skip
def test_a_call_on_a_file_fails_once_and_calls_on_others_do_not(
    page: FaultPage, tmp_path: Path, operation: Operation, pattern: str
) -> None:
    page.arm(CallFault(Action.FAIL, operation, pattern, ANY_PROCESS, errno.EROFS))

    found = run(page, WRITES, tmp_path / "a", tmp_path / "b", tmp_path / "b", tmp_path / "c")

    assert found.stdout.split() == ["done", str(errno.EROFS), "done", "done"]
    assert page.fired == 1


def test_calls_pass_before_the_fault_and_it_lasts_until_it_is_lifted(page: FaultPage, tmp_path: Path) -> None:
    names = [tmp_path / str(number) for number in range(5)]
    page.arm(CallFault(Action.FAIL, Operation.WRITE, f"{tmp_path}/*", ANY_PROCESS, errno.ENOSPC, ENDLESS), passing=2)
    assert run(page, WRITES, *names).stdout.split() == ["done", "done", *[str(errno.ENOSPC)] * 3]

    page.disarm()
    assert run(page, WRITES, *names).stdout.split() == ["done"] * 5


@pytest.mark.parametrize(
    ("action", "operation", "left"),
    [
        (Action.KILL, Operation.WRITE, {"a": b""}),
        (Action.TEAR, Operation.WRITE, {"a": b"01234"}),
        (Action.KILL_AFTER, Operation.WRITE, {"a": b"0123456789"}),
        (Action.KILL, Operation.RENAME, {"a": b"0123456789"}),
        (Action.KILL_AFTER, Operation.RENAME, {"a.done": b"0123456789"}),
    ],
)
def test_a_process_is_killed_at_a_call(
    page: FaultPage, tmp_path: Path, action: Action, operation: Operation, left: dict[str, bytes]
) -> None:
    folder = tmp_path / "written"
    folder.mkdir()
    page.arm(CallFault(action, operation, f"{folder}/*", ANY_PROCESS))

    assert run(page, WRITES, folder / "a").returncode == -signal.SIGKILL
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left


def test_only_the_rank_that_is_named_meets_with_it(page: FaultPage, tmp_path: Path) -> None:
    for rank, expected in ((1, "5"), (0, "done"), (NO_RANK, "done")):
        page.arm(CallFault(Action.FAIL, Operation.OPEN, "*/a", rank, errno.EIO))
        assert run(page, WRITES, tmp_path / "a", RANK="1").stdout.split() == [expected]
    assert run(page, WRITES, tmp_path / "a").stdout.split() == ["5"]


def test_a_call_takes_as_long_as_it_should(page: FaultPage, tmp_path: Path) -> None:
    page.arm(CallFault(Action.WAIT, Operation.SYNC, "*/a", ANY_PROCESS, 700))
    began = time.monotonic()

    assert run(page, WRITES, tmp_path / "a").stdout.split() == ["done"]
    assert time.monotonic() - began >= 0.7


def test_the_clock_is_another_and_monotonic_time_is_not(page: FaultPage) -> None:
    code = "import time; print(time.time(), time.time_ns(), time.monotonic())"
    page.set_clock(-7200)

    found = [float(text) for text in run(page, code).stdout.split()]

    assert found[0] == pytest.approx(time.time() - 7200, abs=60)
    assert found[1] / 1e9 == pytest.approx(time.time() - 7200, abs=60)
    assert found[2] == pytest.approx(time.monotonic(), abs=60)

"""Children, their groups, and what they leave behind. The supervisor's tests show the rest."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.launcher import processes
from service.launcher.processes import ChildProcess, adopting_orphans, children_of
from tests.service.harness.children import ENDS, LEAVES_IN_ORDER, is_running, pid_of, program, until

LEAVES_ORPHAN = """
import pathlib, subprocess, sys
folder, code = pathlib.Path(sys.argv[1]), sys.argv[2]
orphan = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
(folder / "orphan.new").write_text(str(orphan.pid))
(folder / "orphan.new").rename(folder / "orphan.pid")
"""
WAITS = "import signal; signal.pause()"


def test_a_child_leads_a_group_of_its_own_and_has_no_input(tmp_path: Path) -> None:
    child = ChildProcess(program(LEAVES_IN_ORDER, tmp_path, "child", 4))
    pid_of(tmp_path, "child")

    assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid
    assert os.readlink(f"/proc/{child.pid}/fd/0") == "/dev/null"
    assert child.exit_code() is None
    assert not child.wait(0)

    child.signal_group(signal.SIGTERM)
    assert child.wait(20)
    assert child.exit_code() == 4


def test_signals_to_a_child_that_has_ended_do_nothing(tmp_path: Path) -> None:
    child = ChildProcess(program(ENDS, tmp_path, "child", 0))
    assert child.wait(20)

    child.signal_group(signal.SIGTERM)
    child.kill()

    assert child.exit_code() == 0


def test_kill_ends_a_child_at_once(tmp_path: Path) -> None:
    child = ChildProcess(program(LEAVES_IN_ORDER, tmp_path, "child"))
    pid_of(tmp_path, "child")

    child.kill()

    assert child.exit_code() == -signal.SIGKILL


def test_children_are_found_by_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in children_of(os.getpid())
        child.communicate()

    assert child.pid not in children_of(os.getpid())


def test_what_an_ended_child_left_behind_is_found_and_ended(tmp_path: Path) -> None:
    with adopting_orphans() as orphans:
        child = ChildProcess(program(LEAVES_ORPHAN, tmp_path, WAITS))
        orphans.exclude(child)
        assert child.wait(20)
        orphan = pid_of(tmp_path, "orphan")

        assert orphans.remaining() == [orphan]
        orphans.kill()

        assert orphans.remaining() == []
    assert not is_running(orphan)


def test_an_orphan_that_ends_by_itself_is_laid_to_rest(tmp_path: Path) -> None:
    before = children_of(os.getpid())  # servers of other tests
    with adopting_orphans() as orphans:
        child = ChildProcess(program(LEAVES_ORPHAN, tmp_path, "pass"))
        orphans.exclude(child)
        assert child.wait(20)

        until(lambda: not orphans.remaining())

        assert children_of(os.getpid()) == before


def test_children_that_were_there_before_are_nobodys_orphans() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as earlier:
        with adopting_orphans() as orphans:
            assert orphans.remaining() == []
            orphans.kill()
        assert earlier.poll() is None
        earlier.communicate()


def test_an_orphan_that_somebody_else_laid_to_rest_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with adopting_orphans() as orphans:
        monkeypatch.setattr(processes, "children_of", lambda _parent: [2**22 + 1])

        assert orphans.remaining() == []

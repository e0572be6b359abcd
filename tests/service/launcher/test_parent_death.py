"""Processes that end with their parent. `test_supervisor_terminal.py` shows it for the children of a launcher."""

import os
import subprocess
import sys
from pathlib import Path

from service.launcher.parent_death import ending_with_this
from tests.service.harness.children import is_running, pid_of, until

ROOT = Path(__file__).parents[3]
NOBODY = 2**22 + 1
"""A process id that the kernel never gives."""
STARTS_A_CHILD = """
import pathlib, signal, subprocess, sys
from service.launcher.parent_death import ending_with_this
code = f"import os, pathlib, time; pathlib.Path('{sys.argv[1]}/child.new').write_text(str(os.getpid()));"
code += f"pathlib.Path('{sys.argv[1]}/child.new').rename('{sys.argv[1]}/child.pid'); time.sleep(1000)"
subprocess.run(ending_with_this([sys.executable, "-c", code]))
"""


def test_a_process_whose_parent_has_ended_before_it_asked_the_kernel_does_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"from service.launcher.parent_death import end_with_parent; end_with_parent(parent={NOBODY}); "
    code += f"open({str(mark)!r}, 'w')"

    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)

    assert run.returncode == 143
    assert not mark.exists()


def test_a_process_whose_parent_lives_goes_on() -> None:
    code = f"from service.launcher.parent_death import end_with_parent; end_with_parent(parent={os.getpid()})"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_command_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", STARTS_A_CHILD, str(tmp_path)], cwd=ROOT)
    child = pid_of(tmp_path, "child")
    parent.kill()
    parent.wait(30)

    until(lambda: not is_running(child))


def test_a_command_runs_with_its_arguments_and_its_exit_code() -> None:
    command = ending_with_this([sys.executable, "-c", "import sys; sys.exit(int(sys.argv[1]))", "7"])

    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 7

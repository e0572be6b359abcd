"""Time in which a rank was stopped (SIGSTOP) is no stall: of none of its threads, and of no other rank."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddp.watchdog.rank_status import RankReport, RankStatusTable
from ddp.watchdog.stages import Stage
from ddp.watchdog.stall_detection import find_stall
from service.run.active_time import STOPPED_SECONDS

ROOT = Path(__file__).parents[3]


def test_a_process_that_was_stopped_and_continued_reports_no_stall() -> None:
    command = [sys.executable, "-m", "tests.ddp.harness.rank_programs.suspended"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is in a stage now
        os.kill(process.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        while time.monotonic() < stopped_at + 2 * STOPPED_SECONDS:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGCONT)
        seen = json.loads(process.stdout.readline())

    assert seen["stalls"] == []
    assert seen["stage_seconds"] < STOPPED_SECONDS
    assert seen["progress_age_seconds"] < STOPPED_SECONDS
    assert seen["stopped_seconds"] > STOPPED_SECONDS


def report(number: int, stage_seconds: float, stopped_seconds: float) -> str:
    values = number, "gpu-07", 4711, "cpu", Stage.VALIDATION, 12, stage_seconds, stopped_seconds, "", 0.0
    return RankReport(*values).encode()


def table_after(monkeypatch: pytest.MonkeyPatch, *reports: tuple[str, str]) -> RankStatusTable:
    """Return a table that got these reports of two ranks, a minute apart."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    table = RankStatusTable()
    for texts in reports:
        now[0] += 60
        table.update(texts)
    return table


def test_a_rank_that_waited_for_a_stopped_one_is_not_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a validation, ranks wait for each other without a stage of its own for that."""
    before, after = (report(1, 1, 0), report(1, 1, 0)), (report(61, 61, 0), report(2, 61, 59))

    statuses = table_after(monkeypatch, before, after).statuses()

    assert [status.stage_seconds for status in statuses] == [2, 2]
    assert find_stall(statuses, stall_seconds=10, silence_seconds=10) is None


def test_ranks_that_were_stopped_together_are_excused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (report(1, 1, 0), report(1, 1, 0)), (report(2, 61, 40), report(2, 61, 50))

    statuses = table_after(monkeypatch, before, after).statuses()

    assert [status.stage_seconds for status in statuses] == [11, 11]


def test_a_stop_before_a_stage_makes_it_no_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [(report(1, 1, 0), report(1, 1, 0)), (report(2, 1, 59), report(2, 1, 0))]
    reports += [(report(3, 60, 59), report(3, 60, 0))]

    statuses = table_after(monkeypatch, *reports).statuses()

    assert [status.stage_seconds for status in statuses] == [60, 60]

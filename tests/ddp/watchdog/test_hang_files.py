"""The file of one hang: which rank, where all of them are, and what becomes of it where the disk is full."""

import logging
from pathlib import Path

import pytest

from ddp.watchdog import hang_files
from ddp.watchdog.hang_files import HangFiles
from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stack_groups import group_stacks
from ddp.watchdog.stages import Stage
from ddp.watchdog.stall_detection import Stall

STATUSES = [
    RankStatus(0, "gpu-07", 11, "cpu", Stage.ALL_REDUCE, 41, 2.9, 0.2, '  File "/a/b.py", line 1, in wait\n', 0.5),
    RankStatus(1, "gpu-08", 12, "cpu", Stage.DATA, 42, 3.0, 0.1, '  File "/a/c.py", line 2, in read\n', 0.4),
]


def stall() -> Stall:
    groups = group_stacks(STATUSES, {}, waiting=(0,))
    return Stall(1, Stage.DATA, 3.0, "Rank 1 hangs.", "Rank 1", limit_seconds=2.25, groups=groups)


def test_it_holds_the_sentence_a_line_for_each_rank_and_each_stack_once(tmp_path: Path) -> None:
    files = HangFiles(lambda: tmp_path)

    name = files.write(stall(), STATUSES)
    files.wait()

    assert name is not None
    assert name.startswith("hangs/")
    assert name.endswith("Z_step_42.txt")
    text = (tmp_path / name).read_text()
    assert "\nRank 1 hangs.\n" in text
    assert "rank 0 (gpu-07, process 11, cpu): all-reduce at step 41 for 2.9 s, last report 0.2 s ago\n" in text
    assert text.index("=== rank 1: rank 1 is in data (read, c.py)\n") < text.index("=== rank 0: ")
    assert 'Stack of rank 0, taken 0.5 s before, innermost call last:\n  File "/a/b.py", line 1, in wait\n' in text


def test_a_disk_that_refuses_it_is_logged_and_the_name_stands_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hangs").write_text("a file")
    files = HangFiles(lambda: tmp_path)

    with caplog.at_level(logging.WARNING):
        files.write(stall(), STATUSES)
        files.wait()

    assert "could not be written to" in caplog.text


def test_a_run_that_hangs_again_and_again_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang_files, "MAX_FILES", 2)
    files = HangFiles(lambda: tmp_path, "_of_rank_1")

    names = [files.write(stall(), STATUSES) for _ in range(3)]

    assert [name is None for name in names] == [False, False, True]
    assert str(names[0]).endswith("_of_rank_1.txt")


def test_the_event_has_the_groups_without_their_stacks() -> None:
    details = stall().details()

    assert [group["ranks"] for group in details["groups"]] == [[1], [0]]
    assert "stack" not in details["groups"][0]
    assert (details["rank"], details["limit_seconds"]) == (1, 2.25)
    assert "groups" not in stall().resolved(9.0).details()

"""The thread that writes checkpoints: nothing waits for it but those who ask to, and nothing ends it."""

import gc
import json
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.checkpoint import async_writer
from ddp.checkpoint import folder as folder_module
from ddp.checkpoint.async_writer import CheckpointWriter, PendingCheckpoint
from ddp.checkpoint.folder import CheckpointFolder, Reason, verify
from ddp.checkpoint.format import MANIFEST_FILE

NO_SPACE = OSError(28, "No space left on device")


class Desk:
    """A writer, a way to hold it in the middle of a state, and what it told of each state."""

    def __init__(self, root: Path) -> None:
        self.folder = CheckpointFolder(root)
        self.keep = 0
        self.writer = CheckpointWriter(self.folder, lambda: self.keep)
        self.told: list[tuple[int, str | None]] = []
        self.told_of: list[int] = []
        self.states: list[weakref.ref[object]] = []
        self.go_on = threading.Event()

    def submit(
        self,
        step: int,
        reason: Reason = Reason.SCHEDULE,
        *,
        is_best: bool = False,
        build: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        def state() -> dict[str, Any]:
            return {"weights": torch.full((3,), float(step))}

        def tell(written_step: int, problem: str | None) -> None:
            self.told.append((step, problem))
            self.told_of.append(written_step)

        if build is None:
            self.states.append(weakref.ref(state))
        self.writer.submit(PendingCheckpoint(step, build or state, reason, is_best, tell))

    def waiting(self) -> int:
        """How many states are kept to be written, of those that were submitted without `build`."""
        gc.collect()
        return sum(state() is not None for state in self.states)

    def hold(self, step: int) -> None:
        """Submit a state whose copies do not arrive before `go_on` is set; returns once the writer waits for them."""
        has_begun = threading.Event()

        def build() -> dict[str, Any]:
            has_begun.set()
            assert self.go_on.wait(60)
            return {}

        self.submit(step, build=build)
        assert has_begun.wait(60)

    def written(self) -> dict[int, tuple[str, bool]]:
        """The states there are, with their reason and whether they were the best, oldest first."""
        assert self.writer.drain() is None
        saved = {step: self.folder.find(str(step)).saved.folder for step in reversed(self.folder.steps())}
        manifests = {step: json.loads((folder / MANIFEST_FILE).read_bytes()) for step, folder in saved.items()}
        return {step: (manifest["reason"], manifest["is_best"]) for step, manifest in manifests.items()}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "checkpoints")
    yield desk
    desk.go_on.set()
    desk.writer.close()


def test_a_state_is_durable_and_verified_when_its_writer_says_so(desk: Desk) -> None:
    found: list[str | None] = []
    folder = desk.folder
    desk.writer.submit(
        PendingCheckpoint(
            5, lambda: {"a": 1}, Reason.COMMAND, False, lambda *_: found.append(verify(folder.find("5").saved.folder))
        )
    )

    assert desk.writer.drain() is None
    assert found == [None]
    assert desk.writer.stats()["checkpoint_step"] == 5
    assert desk.writer.stats()["checkpoint_seconds"] > 0


def test_the_statistics_hold_the_last_state_and_count_what_failed(desk: Desk) -> None:
    assert desk.writer.stats() == {"checkpoints_written": 0, "checkpoint_failures": 0}
    for step in (5, 10):
        desk.submit(step)
        desk.writer.drain()
    desk.submit(15, build=lambda: {"path": Path("no plain value")})
    desk.writer.drain()

    stats = desk.writer.stats()
    state = desk.folder.find("10").saved.folder / "state.pt"
    assert (stats["checkpoints_written"], stats["checkpoint_failures"]) == (2, 1)
    assert (stats["checkpoint_step"], stats["checkpoint_bytes"]) == (10, state.stat().st_size)
    assert stats["checkpoint_seconds"] > 0
    assert stats["checkpoint_time"] >= state.stat().st_mtime


def test_submitting_returns_while_a_state_is_being_written(desk: Desk) -> None:
    desk.hold(1)
    desk.submit(2)

    assert desk.told == []
    assert "checkpoint_step" not in desk.writer.stats()
    desk.go_on.set()
    assert desk.writer.drain() is None
    assert desk.told == [(1, None), (2, None)]


def test_draining_with_nothing_to_do_returns_at_once(desk: Desk) -> None:
    assert desk.writer.drain() is None


C, S, B = Reason.COMMAND, Reason.SCHEDULE, Reason.BEST


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        pytest.param([(2, S, False), (3, S, False)], {3: (S, False)}, id="newer scheduled"),
        pytest.param([(2, S, False), (3, C, False)], {3: (C, False)}, id="command over scheduled"),
        pytest.param([(2, C, False), (3, S, False)], {2: (C, False), 3: (S, False)}, id="command stays"),
        pytest.param([(2, B, True), (3, S, False)], {2: (B, True), 3: (S, False)}, id="best stays"),
        pytest.param([(2, B, True), (3, B, True)], {3: (B, True)}, id="better best"),
        pytest.param([(2, C, False), (3, C, False)], {3: (C, False)}, id="later command"),
        pytest.param([(2, B, True), (3, C, False)], {2: (B, True), 3: (C, False)}, id="best, command"),
        pytest.param([(2, C, True), (3, B, True)], {2: (C, True), 3: (B, True)}, id="commanded best, best"),
        pytest.param([(2, C, True), (3, S, False)], {2: (C, True), 3: (S, False)}, id="commanded best, scheduled"),
        pytest.param(
            [(2, C, False), (3, B, True), (4, S, False)], {3: (C, True), 4: (S, False)}, id="command into best"
        ),
        pytest.param(
            [(2, B, True), (3, C, False), (4, S, False)], {2: (B, True), 4: (C, False)}, id="command into scheduled"
        ),
        pytest.param(
            [(2, C, True), (3, B, True), (4, S, False)], {3: (C, True), 4: (S, False)}, id="commanded best into best"
        ),
        pytest.param([(2, S, False), (2, C, False), (2, B, True)], {2: (C, True)}, id="one step is one state"),
        pytest.param([(2, B, True), (2, C, False), (2, S, False)], {2: (C, True)}, id="one step, other order"),
        pytest.param([(step, S, False) for step in range(2, 30)], {29: (S, False)}, id="many"),
    ],
)
def test_newer_states_take_the_place_of_those_that_wait_but_not_of_the_best_or_a_command(
    desk: Desk, came: list[tuple[int, Reason, bool]], expected: dict[int, tuple[Reason, bool]]
) -> None:
    desk.hold(1)
    for step, reason, is_best in came:
        desk.submit(step, reason, is_best=is_best)
    assert desk.waiting() == len(expected) <= 2
    desk.go_on.set()

    assert desk.written() == {1: (S, False), **expected}
    assert desk.told == [(1, None), *((step, None) for step, _, _ in came)]
    # Who was replaced is told which state there is instead.
    assert set(desk.told_of) == {1, *expected}
    assert all(written >= step for (step, _), written in zip(desk.told, desk.told_of, strict=True))


def test_all_that_were_replaced_hear_of_the_failure(desk: Desk) -> None:
    def fail() -> dict[str, Any]:
        raise NO_SPACE

    desk.hold(1)
    desk.submit(2)
    desk.submit(3)
    desk.submit(4, build=fail)
    desk.go_on.set()

    problem = "step_0000004 could not be written (No space left on device: make room)"
    assert desk.writer.drain() == problem
    assert desk.told == [(1, None), (2, problem), (3, problem), (4, problem)]


def test_a_full_disk_is_one_line_and_the_next_state_is_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(_descriptor: int) -> None:
        raise NO_SPACE

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        desk.submit(1)
        assert "No space left on device" in (desk.writer.drain() or "")
    desk.submit(2)

    assert desk.writer.drain() is None
    assert desk.folder.steps() == [2]
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage() == (
        "Checkpoint step_0000001 could not be written (No space left on device: make room); there is none on disk, and "
        "training goes on."
    )
    assert line.exc_info is None


def test_a_state_that_is_in_place_but_not_flushed_is_called_just_that(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_folders(folder: Path) -> None:
        raise OSError(5, "Input/output error", str(folder))

    desk.submit(1)
    desk.writer.drain()
    monkeypatch.setattr(folder_module, "sync_folder", refuse_folders)
    desk.submit(2)
    desk.writer.drain()

    assert desk.folder.steps() == [2, 1]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.endswith("; it is in place, but may not outlast a power failure, and training goes on.")


def test_a_failure_names_the_state_that_stays_and_is_told_once_however_often_it_is_tried(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> dict[str, Any]:
        raise NO_SPACE

    desk.submit(1)
    desk.writer.drain()
    for _ in range(3):
        desk.submit(2, Reason.FINAL, build=fail)
        desk.writer.drain()

    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.endswith("(No space left on device: make room); the newest on disk is step_0000001.")
    assert desk.writer.stats()["checkpoint_failures"] == 1
    assert [problem is None for _, problem in desk.told] == [True, False, False, False]


def test_a_defect_is_logged_with_its_place_and_told_and_does_not_end_the_thread(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def defect() -> dict[str, Any]:
        raise KeyError("moments")

    desk.submit(1, build=defect)
    assert desk.writer.drain() == "step_0000001 could not be written (KeyError: 'moments')"
    assert "in defect" in caplog.text
    desk.submit(2, build=lambda: {"path": Path("no plain value")})
    assert "could not be loaded again" in (desk.writer.drain() or "")
    desk.submit(3)

    assert desk.writer.drain() is None
    assert [step for step, _ in desk.told] == [1, 2, 3]
    assert desk.folder.steps() == [3]
    assert desk.writer.stats()["checkpoint_step"] == 3


def test_a_listener_that_fails_disturbs_neither_the_others_nor_the_thread(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_step: int, _problem: str | None) -> None:
        raise ValueError("a defect in a listener")

    desk.hold(1)
    desk.writer.submit(PendingCheckpoint(2, dict, Reason.SCHEDULE, False, fail))
    desk.submit(3)
    desk.go_on.set()

    assert desk.writer.drain() is None
    assert desk.told == [(1, None), (3, None)]
    assert "a defect in a listener" in caplog.text


def test_each_success_prunes_to_the_number_in_force_then(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for step in (1, 2, 3):
        desk.submit(step)
        desk.writer.drain()
    assert desk.folder.steps() == [3, 2, 1]
    desk.keep = 2
    desk.submit(4)
    desk.writer.drain()

    assert desk.folder.steps() == [4, 3]
    assert "Checkpoints removed: step_0000002, step_0000001." in caplog.text


def test_a_defect_in_pruning_leaves_the_state_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def defect() -> int:
        raise KeyError("KEEP_CHECKPOINTS")

    writer = CheckpointWriter(CheckpointFolder(tmp_path), defect)
    writer.submit(PendingCheckpoint(1, dict, Reason.SCHEDULE, False, lambda *_: None))

    assert writer.drain() is None
    assert writer.stats()["checkpoint_step"] == 1
    assert "could not prune checkpoints" in caplog.text
    writer.close()


def test_closing_writes_what_waits_ends_the_thread_and_refuses_more(desk: Desk) -> None:
    desk.hold(1)
    desk.submit(2, is_best=True)
    desk.submit(3)
    desk.go_on.set()
    desk.writer.close()

    assert desk.folder.steps() == [3, 2, 1]
    assert "checkpoint writer" not in {thread.name for thread in threading.enumerate()}
    assert desk.writer.drain() is None
    desk.writer.close()
    with pytest.raises(RuntimeError, match="step 4 came after the writer was closed"):
        desk.submit(4)


def test_a_state_is_written_with_pauses_unless_somebody_waits_for_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on in them, for which every tensor that is written takes the interpreter."""
    monkeypatch.setattr(async_writer, "PAUSE_SECONDS", 10.0**6)
    tensors = {str(number): torch.ones(1) for number in range(100)}
    pauses, save = threading.Semaphore(0), desk.folder.save

    def noting(*values: Any, pause: Callable[[], None], **named: Any) -> Any:
        def paused() -> None:
            pauses.release()
            pause()

        return save(*values, pause=paused, **named)

    monkeypatch.setattr(desk.folder, "save", noting)
    desk.submit(1, build=lambda: tensors)
    assert pauses.acquire(timeout=60)
    assert desk.told == []

    assert desk.writer.drain() is None  # which ends the pause
    assert pauses.acquire(timeout=60)
    desk.submit(2, build=lambda: tensors)
    desk.writer.close()
    assert desk.folder.steps() == [2, 1]


def test_no_copy_of_the_weights_outlives_its_writing(desk: Desk) -> None:
    written, replaced = torch.zeros(3), torch.zeros(3)
    seen = [weakref.ref(written), weakref.ref(replaced)]
    desk.hold(1)
    desk.submit(2, build=lambda kept=replaced: {"weights": kept})  # type: ignore[misc]
    desk.submit(3, build=lambda kept=written: {"weights": kept})  # type: ignore[misc]
    desk.go_on.set()
    desk.writer.drain()
    del written, replaced
    gc.collect()

    assert [reference() for reference in seen] == [None, None]


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to a thread on Linux only")
def test_the_thread_gives_way_and_no_other_does(tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    desk = Desk(tmp_path)
    desk.submit(1)
    desk.writer.drain()
    (thread,) = (item.native_id for item in threading.enumerate() if item.name == "checkpoint writer")
    assert thread is not None

    assert os.getpriority(os.PRIO_PROCESS, thread) == max(before, 10)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    desk.writer.close()

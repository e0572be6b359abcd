"""TensorBoard's files: what is in them, after a resume and a rollback too, and what a disk that is full does."""

import io
import logging
import resource
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from ddp.recording.trackers.event_file import EventFile, framed
from ddp.recording.trackers.kept_values import kept_values
from ddp.recording.trackers.tensorboard import TensorBoard
from ddp.validation.record_values import CURVES, NOT_YET_VALIDATED
from service.commands import CommandState, Kind
from service.run.record import KEYS
from service.run.records.tables.tags import TRAINING_TAGS, VALIDATION_TAGS
from service.run.state import RunState
from tests.ddp.harness.training import Training

Eventually = Callable[..., None]
Train = Callable[..., Training]


def events_of(folder: Path) -> Iterator[Event]:
    """All events of a folder as TensorBoard reads them: file after file, checksums verified."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            head, (size,) = content[:8], struct.unpack("<Q", content[:8])
            data = content[12 : 12 + size]
            checksums = (*struct.unpack("<I", content[8:12]), *struct.unpack("<I", content[12 + size : 16 + size]))
            assert checksums == (masked_crc32c(head), masked_crc32c(data)), path
            yield Event.FromString(data)
            content = content[16 + size :]


def shown(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """{tag: [(step, scalar or picture)]} that TensorBoard shows, whichever of its loaders reads the folder."""
    slowly, fast = (
        {tag: [(step, value) for step, _, value in points] for tag, points in loaded(folder).items() if points}
        for loaded in (loaded_slowly, loaded_fast)
    )
    assert slowly == fast
    return slowly


Point = tuple[int, float, Any]
"""Step, time, and a scalar or a picture."""


def loaded_slowly(folder: Path) -> dict[str, list[Point]]:
    """What `--load_fast=false` shows: a session start hides what there was from its step on.

    It shows a point that is repeated twice at the same place, here once.
    """
    found: dict[str, list[Point]] = defaultdict(list)
    for event in events_of(folder):
        if event.session_log.status == SessionLog.START:
            for tag, points in found.items():
                found[tag] = [point for point in points if point[0] < event.step]
        for tag, point in points_of(event):
            if point not in found[tag]:
                found[tag].append(point)
    return found


def loaded_fast(folder: Path) -> dict[str, list[Point]]:
    """What the default loader shows: only a value of a tag hides what the tag had from its step on."""
    found: dict[str, list[Point]] = defaultdict(list)
    for event in events_of(folder):
        for tag, point in points_of(event):
            found[tag] = [*(earlier for earlier in found[tag] if earlier[0] < point[0]), point]
    return found


def points_of(event: Event) -> Iterator[tuple[str, Point]]:
    for value in event.summary.value:
        yield value.tag, (event.step, event.wall_time, value.image if value.HasField("image") else value.simple_value)


def is_writing() -> bool:
    """Whether TensorBoard's thread lives."""
    return any(thread.name == "tensorboard" for thread in threading.enumerate())


def snapshot(step: int, **values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(KEYS), **NOT_YET_VALIDATED, "step_current": step, **values}


@pytest.fixture
def status_store(tmp_path: Path) -> Iterator[TensorBoard]:
    status_store = TensorBoard(tmp_path / "tensorboard", has_scalars=True, has_images=True)
    yield status_store
    if is_writing():
        status_store.close()


def test_every_curve_of_a_run_has_a_tag_of_its_own() -> None:
    tags = [*TRAINING_TAGS.values(), *VALIDATION_TAGS.values()]

    assert TRAINING_TAGS.keys() | VALIDATION_TAGS.keys() == CURVES
    assert len(tags) == len(set(tags))
    assert all(tag.count("/") == 1 for tag in tags)


def test_a_log_point_and_a_validation_are_scalars_and_pictures_at_their_step(
    status_store: TensorBoard, tmp_path: Path
) -> None:
    ranks = [{"rank": rank, "step_duration": 0.5 + rank, "data_wait": None, "memory": 2.0} for rank in range(2)]
    picture = torch.zeros(3, 8, 24, dtype=torch.uint8)
    picture[0] = 255
    status_store.start(0)
    status_store.log_point(2, 1700000000.5, snapshot(2, l1_loss_value=0.25, grad_norm=None, per_rank=ranks))
    record = snapshot(4, quality_ki_value=0.75, psnr_ki_db=30.5, layer_activity_raw_map={"Final_Fusion": 0.125})
    status_store.validation(4, 1700000001.0, record, [("val_0.png", picture)])
    status_store.close()

    found = shown(tmp_path / "tensorboard")
    ((step, image),) = found.pop("preview/val_0")
    assert found == {
        "loss/l1": [(2, 0.25)],
        "rank/0/step_seconds": [(2, 0.5)],
        "rank/0/memory_gib": [(2, 2.0)],
        "rank/1/step_seconds": [(2, 1.5)],
        "rank/1/memory_gib": [(2, 2.0)],
        "quality/ki": [(4, 0.75)],
        "validation/psnr_ki_db": [(4, 30.5)],
        "validation/images": [(4, 0.0)],
        "activity/Final_Fusion": [(4, 0.125)],
    }
    assert (step, image.height, image.width) == (4, 8, 24)
    with Image.open(io.BytesIO(image.encoded_image_string)) as opened:
        assert opened.size == (24, 8)
        red, green, blue = opened.convert("RGB").getpixel((12, 4))  # type: ignore[misc]
    assert (red > 250, green < 5, blue < 5) == (True, True, True)
    first, beginning, log_point, *_ = events_of(tmp_path / "tensorboard")
    assert first.file_version == "brain.Event:2"
    assert beginning.step == 1
    assert log_point.wall_time == 1700000000.5


@pytest.mark.parametrize(("scalars", "pictures", "tags"), [(True, False, {"loss/l1"}), (False, True, {"preview/a"})])
def test_scalars_and_pictures_are_written_only_where_they_are_asked_for(
    tmp_path: Path, scalars: bool, pictures: bool, tags: set[str]
) -> None:
    status_store = TensorBoard(tmp_path, has_scalars=scalars, has_images=pictures)
    status_store.start(0)
    status_store.log_point(2, 1.0, snapshot(2, l1_loss_value=0.25))
    status_store.validation(2, 1.0, snapshot(2), [("a.png", torch.zeros(3, 4, 4, dtype=torch.uint8))])
    status_store.close()

    assert set(shown(tmp_path)) - {"validation/images"} == tags


def test_a_run_that_goes_back_shows_no_step_twice(tmp_path: Path) -> None:
    for step_at_start in (0, 4):  # the second start is a resume at step 4
        status_store = TensorBoard(tmp_path, has_scalars=True, has_images=False)
        status_store.start(step_at_start)
        for step in range(step_at_start + 2, 11, 2):
            status_store.log_point(step, 1.0, snapshot(step, l1_loss_value=float(step + step_at_start)))
        status_store.close()
    status_store = TensorBoard(tmp_path, has_scalars=True, has_images=False)
    status_store.start(10)
    status_store.log_point(12, 1.0, snapshot(12, l1_loss_value=12.0))
    status_store.resume_from(6)  # a rollback
    status_store.log_point(8, 1.0, snapshot(8, l1_loss_value=-8.0))
    status_store.close()

    assert shown(tmp_path)["loss/l1"] == [(2, 2.0), (4, 4.0), (6, 10.0), (8, -8.0)]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_rollback_hides_later_validations_at_once_in_either_loader(tmp_path: Path) -> None:
    pictures = [("val_0.png", torch.full((3, 4, 12), step, dtype=torch.uint8)) for step in range(21)]
    for step_at_start in (0, 12):  # the second start is a resume, which finds the values of the first in other files
        status_store = TensorBoard(tmp_path, has_scalars=True, has_images=True)
        status_store.start(step_at_start)
        for step in range(step_at_start + 1, step_at_start + 9):
            status_store.log_point(step, 1.0, snapshot(step, l1_loss_value=float(step)))
            if step % 5 == 0:
                status_store.validation(step, 1.0, snapshot(step, quality_ki_value=step / 64), [pictures[step]])
        status_store.close()
    status_store = TensorBoard(tmp_path, has_scalars=True, has_images=True)
    status_store.start(20)
    status_store.resume_from(14)
    status_store.close()
    assert [step for step, _ in shown(tmp_path)["quality/ki"]] == [5]

    found = shown(tmp_path)
    assert found["quality/ki"] == [(5, 5 / 64)]
    assert [step for step, _ in found["preview/val_0"]] == [5]
    assert [step for step, _ in found["loss/l1"]] == [*range(1, 9), 13, 14]


def test_a_run_that_goes_on_where_it_was_repeats_nothing(tmp_path: Path) -> None:
    for step in (0, 4):
        status_store = TensorBoard(tmp_path, has_scalars=True, has_images=False)
        status_store.start(step)
        status_store.log_point(step + 4, 1.0, snapshot(step + 4, l1_loss_value=1.0))
        status_store.close()

    assert sum(len(event.summary.value) for event in events_of(tmp_path)) == 2


def test_files_that_were_cut_or_spoilt_cost_their_own_values_only(tmp_path: Path) -> None:
    whole = framed([Event(step=step, wall_time=1.0, summary=scalar("a", step)) for step in (1, 2, 3, 4)])
    spoilt = framed([Event(step=4, wall_time=1.0, summary=scalar("a", 2.0))])
    (tmp_path / "events.out.tfevents.1000000000.box.1").write_bytes(whole[:-5])
    (tmp_path / "events.out.tfevents.1000000001.box.1").write_bytes(spoilt[:12] + b"\xff" * (len(spoilt) - 12))
    (tmp_path / "events.out.tfevents.1000000002.box.1").write_bytes(whole[-5:])
    (tmp_path / "events.out.tfevents.1000000003.box.1").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no events")

    assert [(event.step, value.tag) for event in kept_values(tmp_path, 2) for value in event.summary.value] == [
        (2, "a")
    ]
    assert kept_values(tmp_path, 0) == []
    assert kept_values(tmp_path / "missing", 2) == []


def scalar(tag: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def test_a_later_file_comes_after_all_others_even_when_the_clock_was_set_back(tmp_path: Path) -> None:
    ahead = tmp_path / "events.out.tfevents.9000000000.elsewhere.77"
    ahead.write_bytes(b"")
    file = EventFile(tmp_path)
    file.append(framed([Event(step=1)]))
    file.close()

    assert sorted(tmp_path.iterdir())[0] == ahead
    assert [event.step for event in events_of(tmp_path)] == [0, 1]


def test_a_batch_that_found_room_for_its_half_only_leaves_no_trace(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.append(framed([Event(step=1)]))
    (path,) = tmp_path.iterdir()
    size = path.stat().st_size

    with no_file_beyond(size + 30), pytest.raises(OSError, match="File too large"):
        file.append(framed([Event(step=2), Event(step=3)]))
    assert path.stat().st_size == size
    file.append(framed([Event(step=2)]))
    file.close()

    assert [event.step for event in events_of(tmp_path)] == [0, 1, 2]


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """The kernel writes what fits and refuses the rest, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "tensorboard")
    file.append(framed([Event(step=1)]))
    (path,) = (tmp_path / "tensorboard").iterdir()
    path.unlink()
    (tmp_path / "tensorboard").rmdir()
    file.append(framed([Event(step=2)]))
    file.close()

    assert [event.step for event in events_of(tmp_path / "tensorboard")] == [0, 2]


def test_what_cannot_be_written_waits_within_bounds_and_is_said_once(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ddp.recording.trackers.tensorboard.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("ddp.recording.trackers.tensorboard.POLL_SECONDS", 0.02)
    monkeypatch.setattr("ddp.recording.trackers.tensorboard.MAX_EVENTS", 10)
    monkeypatch.setattr("ddp.recording.trackers.tensorboard.MAX_IMAGES", 1)
    folder = tmp_path / "tensorboard"
    folder.write_text("a file is in the way")
    status_store = TensorBoard(folder, has_scalars=True, has_images=True)
    status_store.start(0)
    eventually(lambda: "cannot be written" in caplog.text, what="the warning")
    pictures = [(f"{number}.png", torch.zeros(3, 4, 4, dtype=torch.uint8)) for number in range(3)]
    status_store.validation(1, 1.0, snapshot(1), pictures)
    for step in range(2, 22):
        status_store.log_point(step, 1.0, snapshot(step, l1_loss_value=1.0))
    dropped = status_store.dropped
    folder.unlink()
    assert status_store.waiting == 10
    eventually(lambda: status_store.waiting == 0, what="the events")
    status_store.log_point(50, 1.0, snapshot(50, l1_loss_value=1.0))
    status_store.close()

    assert dropped == 2 + 14  # of pictures all but one, of the rest what exceeds ten
    assert [step for step, _ in shown(folder)["loss/l1"]] == [*range(2, 8), 50]
    assert len(shown(folder)["preview/0"]) == 1
    assert [record.levelno for record in caplog.records if "TensorBoard" in record.message] == [logging.WARNING]


def test_a_defect_in_one_event_keeps_back_no_other(
    status_store: TensorBoard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status_store.start(0)
    status_store.log_point(2, 1.0, snapshot(2, l1_loss_value="no number"))
    status_store.log_point(4, 1.0, snapshot(4, l1_loss_value=0.5))
    status_store.close()

    assert shown(tmp_path / "tensorboard")["loss/l1"] == [(4, 0.5)]
    assert "could not be made" in caplog.text


def test_closing_with_the_disk_gone_says_what_is_lost_and_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ddp.recording.trackers.tensorboard.LAST_CHANCE_SECONDS", 0.1)
    (tmp_path / "tensorboard").write_text("a file is in the way")
    status_store = TensorBoard(tmp_path / "tensorboard", has_scalars=True, has_images=False)
    status_store.start(0)
    status_store.close()

    assert "2 events for TensorBoard are lost: its file could not be written. The store has the same" in caplog.text
    assert not is_writing()


def test_a_real_run_that_is_resumed_and_rolled_back_shows_every_step_once(train: Train) -> None:
    chosen = {"TENSORBOARD": True, "TENSORBOARD_IMAGES": True, "EMA_DECAY": 0.5}
    first = train(2, MAX_STEPS=7, **chosen)
    assert first.end() == 0, first.output
    resumed = train(2, "--resume", output="second.txt", MAX_STEPS=10**6, CHECKPOINT_EVERY=1000, SAVE_BEST=False,
                    **chosen)  # fmt: skip
    resumed.wait_for_step(14)
    back = resumed.ended(resumed.submit(Kind.ROLLBACK, {"checkpoint": "5"}))
    assert back.state is CommandState.DONE, back
    again = resumed.command(resumed.submit(Kind.STOP))
    assert resumed.ended(again.id).state is CommandState.DONE
    assert resumed.end() == 0, resumed.output

    found = shown(resumed.root / "tensorboard")
    assert {tag: len(points) - len(dict(points)) for tag, points in found.items()} == dict.fromkeys(found, 0)
    record = resumed.record(5)
    assert found["validation/psnr_ki_db"][0] == (5, pytest.approx(record["psnr_ki_db"]))
    assert found["quality/ema"][0] == (5, pytest.approx(record["quality_ema_value"]))
    assert [step for step, _ in found["loss/total"]][:3] == [2, 4, 6]
    assert {"loss/l1", "weight/ms", "train/learning_rate", "rank/1/own_seconds", "activity/Final_Fusion"} <= set(found)
    assert found["preview/val_0"][0][0] == 5
    run = resumed.run()
    assert run is not None
    assert run.state is RunState.STOPPED
    assert run.facts is not None
    assert run.facts["viewer_events_dropped"] == 0


def test_a_start_without_the_package_is_refused_before_anything_is_written(train: Train, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\n\nsys.modules['tensorboardX'] = None\n")

    refused = train(2, environment={"PYTHONPATH": str(hidden)}, TENSORBOARD=True, MAX_STEPS=3)

    assert refused.end() != 0
    assert "Error: TENSORBOARD is on, but tensorboardX is not installed; install the extra" in refused.output
    assert not (tmp_path / "run").exists()

"""A preparation that is killed, shared among processes, or out of room makes the set of one that is not."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.jobs import cutting, surveying
from ddp.vsr.prepare.jobs.work_folder import work_folder, work_path
from ddp.vsr.prepare.manifest import PatchSettings
from ddp.vsr.prepare.pipeline import Work, prepare_videos
from service.errors import UserError
from tests.harness.forked import Process, StartPython
from tests.service.harness.children import until

Textured = Callable[..., list[NDArray[np.uint8]]]
VideoMaker = Callable[[Path, list[NDArray[np.uint8]]], Path]

SETTINGS = PatchSettings(patch_size=48, val_width=60, val_height=48, patch_count=150, val_count=3)
OPTIONS = ["--patch-size=48", "--val-width=60", "--val-height=48", "--patch-count=150", "--val-count=3"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, textured: Textured, write_video: VideoMaker) -> Path:
    """Two videos of several scenes, one of which gives two parts, a copy, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("material") / "videos"
    folder.mkdir()
    write_video(folder / "three.mkv", [*textured(0, 24), *textured(3, 12), *textured(1, 18)])
    write_video(folder / "two.mkv", [*textured(5, 20), *textured(6, 9)])
    (folder / "copy.mkv").write_bytes((folder / "two.mkv").read_bytes())
    (folder / "broken.mp4").write_bytes(b"nothing" * 100)
    return folder


@pytest.fixture(scope="module")
def serial(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digest of the set that one process makes without an interruption."""
    dataset = tmp_path_factory.mktemp("serial") / "set"
    prepare(videos, dataset)
    return digest(dataset)


def prepare(videos: Path, dataset: Path, workers: int = 1, settings: PatchSettings = SETTINGS) -> list[str]:
    lines: list[str] = []
    prepare_videos(videos, dataset, settings, Work(lines.append, workers))
    return lines


def digest(folder: Path) -> dict[str, str]:
    """Of every file, but the day of `croissant.json`."""
    sums = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.name == "croissant.json":
                content = json.dumps({**json.loads(content), "datePublished": ""}).encode()
            sums[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    return sums


def parts(dataset: Path) -> list[Path]:
    return sorted((work_path(dataset) / ".parts").glob("*.json"))


def has_parts_or_ended(dataset: Path, count: int, process: Process) -> bool:
    return len(parts(dataset)) >= count or process.poll() is not None


@pytest.mark.parametrize("workers", [2, 5])
def test_several_processes_make_the_bytes_of_one(
    videos: Path, tmp_path: Path, serial: dict[str, str], workers: int
) -> None:
    prepare(videos, tmp_path / "set", workers)

    assert digest(tmp_path / "set") == serial
    assert len(serial) > 100


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_any_point_it_goes_on_to_the_same_bytes(
    videos: Path, tmp_path: Path, serial: dict[str, str], start_python: StartPython, seed: int
) -> None:
    """And again, with another number of processes, until it is done."""
    dataset, points = tmp_path / "set", random.Random(seed)
    command = [sys.executable, "-m", "ddp.vsr.prepare", "--dataset", str(dataset), "--videos", str(videos), *OPTIONS]
    at_least = 0
    for _ in range(2):
        at_least += points.randrange(1, 4)
        with (
            (videos.parent / "output.txt").open("w") as output,
            start_python([*command, f"--workers={points.randrange(1, 4)}"], stdout=output) as process,
        ):
            until(partial(has_parts_or_ended, dataset, at_least, process), 60)
            workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
        assert psutil.wait_procs(workers, 20)[1] == []
        assert not dataset.exists()

    lines = prepare(videos, dataset, workers=2)
    assert "Going on with what an earlier start has done" in lines
    assert digest(dataset) == serial
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.fixture
def interrupted(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The set of a preparation that was interrupted after half of the parts of its first video."""
    whole = cutting.CutTask.__call__

    def half(task: cutting.CutTask, report: Callable[[float], object]) -> None:
        whole(cutting.CutTask(task.folder, task.settings, task.parts[: len(task.parts) // 2]), report)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cutting.CutTask, "__call__", half)
        with pytest.raises(KeyboardInterrupt):
            prepare(videos, tmp_path / "set")
    return tmp_path / "set"


def test_finished_parts_are_not_made_again(
    videos: Path, interrupted: Path, serial: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in work_path(interrupted).rglob("*.png")}
    assert before
    monkeypatch.setattr(surveying.SurveyTask, "__call__", lambda task, _: pytest.fail(f"{task} again"))
    (videos / "broken.mp4").rename(videos.parent / "broken.mp4")  # what cannot be read is tried again
    try:
        prepare(videos, interrupted)
    finally:
        (videos.parent / "broken.mp4").rename(videos / "broken.mp4")

    made = {path: (interrupted / path.relative_to(work_path(interrupted))).stat().st_mtime_ns for path in before}
    assert made == before
    after = digest(interrupted)
    assert {name: sum for name, sum in after.items() if name.endswith(".png")} == {
        name: sum for name, sum in serial.items() if name.endswith(".png")
    }


def test_half_written_changed_and_foreign_files_do_not_pass_for_whole(
    videos: Path, interrupted: Path, serial: dict[str, str]
) -> None:
    folder = work_path(interrupted)
    cut, *_, other = sorted(folder.rglob("GT/*.png"))
    cut.write_bytes(cut.read_bytes()[:-20])
    other.write_bytes(other.read_bytes()[:40] + b"\0" + other.read_bytes()[41:])
    (folder / "Patches" / "GT" / "stray.png").write_bytes(b"left by a kill")
    (folder / "dataset.json").write_text("{")
    *_, journal = parts(interrupted)
    journal.write_bytes(journal.read_bytes()[:-5])
    (journal.parent / ".tmp-half.json.123").write_text("{")

    prepare(videos, interrupted)
    assert digest(interrupted) == serial


def test_other_settings_or_another_clip_use_no_part_that_is_not_theirs(
    videos: Path, interrupted: Path, tmp_path: Path
) -> None:
    settings = PatchSettings(**{**vars(SETTINGS), "degradation": "blur-down", "seed": 3})
    prepare(videos, interrupted, settings=settings)
    prepare(videos, tmp_path / "anew", settings=settings)

    assert digest(interrupted) == digest(tmp_path / "anew")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_sentence_and_with_room_the_same_command_goes_on(
    videos: Path, tmp_path: Path, serial: dict[str, str], workers: int
) -> None:
    """The first line after a limit that a picture of the set exceeds."""
    command = f'ulimit -f {3 if sys.platform == "linux" else 6}; exec "$@"'
    program = [sys.executable, "-m", "ddp.vsr.prepare", "--dataset", str(tmp_path / "set"), "--videos", str(videos)]
    run = subprocess.run(
        ["bash", "-c", command, "-", *program, *OPTIONS, f"--workers={workers}"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[5],
    )  # fmt: skip

    assert run.returncode == 2, run.stderr
    (sentence,) = run.stderr.splitlines()
    assert sentence == (
        f"Error: the patch set {tmp_path / 'set'} could not be written (File too large: make room); "
        f"or take another one. The same command goes on with what is done, which is in {work_path(tmp_path / 'set')}"
    )
    assert not (tmp_path / "set").exists()
    prepare(videos, tmp_path / "set")
    assert digest(tmp_path / "set") == serial


def test_a_second_preparation_waits_for_the_first_and_has_nothing_left_to_do(videos: Path, tmp_path: Path) -> None:
    dataset, lines = tmp_path / "set", list[str]()
    second = threading.Thread(target=lambda: lines.extend(prepare(videos, dataset)))
    with work_folder(dataset, pytest.fail) as folder:
        second.start()
        until(lambda: second.is_alive())
        folder.write("ab", {})
        prepare(videos, tmp_path / "other")
        (tmp_path / "other").rename(dataset)
    second.join(60)

    assert not second.is_alive()
    assert lines[-1] == f"{dataset} already holds this patch set: nothing to do"


class CrashingSurvey(surveying.SurveyTask):
    """A decoder that brings its process down on one of the videos."""

    def __call__(self, report: Callable[[float], object]) -> object:  # type: ignore[override]
        if self.source.name == "two.mkv":
            os.abort()
        return super().__call__(report)


def test_a_clip_that_brings_a_decoder_down_costs_itself_by_name(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (videos / "copy.mkv").rename(videos.parent / "copy.mkv")
    monkeypatch.setattr(surveying, "SurveyTask", CrashingSurvey)
    try:
        lines = prepare(videos, tmp_path / "set", workers=2)
    finally:
        (videos.parent / "copy.mkv").rename(videos / "copy.mkv")

    assert "two.mkv is skipped: the process that read it was ended by SIGABRT" in lines
    content = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert [source["name"] for source in content["sources"]] == ["three.mkv"]


class CrashingCut(cutting.CutTask):
    """A decoder that brings its process down after the first part of one of the videos."""

    def __call__(self, report: Callable[[float], object]) -> None:
        if self.parts[0].survey.source.name == "three.mkv":
            cutting.CutTask(self.folder, self.settings, self.parts[:1])(report)
            (self.folder.path / "Patches" / "GT" / "half.png").write_bytes(b"half")
            os.abort()
        super().__call__(report)


def test_a_crash_in_the_middle_of_a_clip_keeps_its_finished_parts_and_nothing_half_written(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serial: dict[str, str]
) -> None:
    monkeypatch.setattr(cutting, "CutTask", CrashingCut)
    lines = prepare(videos, tmp_path / "set", workers=2)

    assert "three.mkv is damaged (the process that read it was ended by SIGABRT): used as far as it was read" in lines
    content = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert content["rejected"]["unreadable"] > 0
    names = {name for name in digest(tmp_path / "set") if name.endswith(".png")}
    assert any("/three_" in name for name in names)
    assert names < set(serial)


def test_an_error_leaves_nothing(tmp_path: Path, write_video: VideoMaker) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mkv", [np.full((96, 120, 3), 20, np.uint8)] * 90)
    with pytest.raises(UserError, match="not one sample"):
        prepare(tmp_path / "videos", tmp_path / "set", workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]

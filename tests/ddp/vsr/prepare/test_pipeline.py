"""Whole preparations, of real clips and of small videos, as the command and as functions."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddp.vsr.patch_set import PatchSet
from ddp.vsr.prepare.__main__ import main
from ddp.vsr.prepare.manifest import PatchSettings
from ddp.vsr.prepare.pipeline import Work, prepare_videos
from service.errors import UserError
from tests.ddp.harness.hdr_video import write_pq
from tests.ddp.vsr.conftest import ODD_KINDS
from tests.harness.forked import StartPython

Textured = Callable[..., list[NDArray[np.uint8]]]
VideoMaker = Callable[[Path, list[NDArray[np.uint8]]], Path]

TINY = PatchSettings(patch_size=48, val_width=60, val_height=48, patch_count=24, val_count=3)


@pytest.fixture
def videos(tmp_path: Path, textured: Textured, write_video: VideoMaker) -> Path:
    """Two videos: three scenes of 24, 12 and 18 frames, and one of 20."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "three.mkv", [*textured(0, 24), *textured(3, 12), *textured(1, 18)])
    write_video(folder / "one.mkv", textured(5, 20))
    return folder


def prepare(videos: Path, dataset: Path, settings: PatchSettings = TINY) -> list[str]:
    lines: list[str] = []
    prepare_videos(videos, dataset, settings, Work(lines.append))
    return lines


def manifest(dataset: Path) -> Any:
    return json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "croissant.json"  # it has the date
    }


def frames_used(dataset: Path, side: str) -> set[tuple[str, int]]:
    """(source, frame) of every frame in the samples of a side, from their names."""
    parts = [path.stem.split("_") for path in (dataset / side / "GT").iterdir()]
    return {(part[0], int(part[2][1:]) + offset) for part in parts for offset in range(-2, 3)}


def test_the_small_clips_become_a_patch_set_that_can_be_opened(clips_folder: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "set"
    arguments = ["--dataset", str(dataset), "--clips", "small", "--clips-folder", str(clips_folder)]
    assert main([*arguments, "--patch-count", "60"]) == 0

    training, validation = (PatchSet.open(dataset, side, 5, 3) for side in ("Patches", "Val"))
    assert len(training) >= 50
    assert (training.skipped, validation.skipped) == ((), ())
    assert set(training.sizes) == {(64, 64)}
    assert set(validation.sizes) == {(80, 120)}
    assert {name.split("_")[0] for name in training.names} == {"bikes", "bigbuckbunny"}
    assert {name.split("_")[0] for name in validation.names} == {"bikes", "cityCC0"}
    assert not frames_used(dataset, "Patches") & frames_used(dataset, "Val")
    lr, gt = validation.read(0)
    # A patch whose middle frame matches GT: shrinking GT once more gives LR, but for the border.
    small = np.asarray(Image.fromarray(gt.permute(1, 2, 0).numpy()).resize((120, 80), Image.Resampling.BICUBIC))
    error = np.abs(lr[2].permute(1, 2, 0).numpy().astype(int) - small)[3:-3, 3:-3]
    assert error.max() <= 1


def test_the_manifest_tells_sources_rights_scenes_and_counts(clips_folder: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "set"
    arguments = ["--dataset", str(dataset), "--clips", "small", "--clips-folder", str(clips_folder)]
    main([*arguments, "--patch-count", "20", "--val-count", "2"])
    content = manifest(dataset)

    sources = {source["name"]: source for source in content["sources"]}
    assert set(sources) == {"bikes.mp4", "bigbuckbunny.mp4", "cityCC0.mpg"}
    assert sources["bigbuckbunny.mp4"]["licence"].startswith("film: CC BY 3.0")
    assert [scene["side"] for scene in sources["cityCC0.mpg"]["scenes"]] == ["Val", "Val"]
    assert [scene["side"] for scene in sources["bikes.mp4"]["scenes"]].count("Val") == 1
    assert content["windows_across_cuts"] == 6 * 4  # every cut lies in four windows of five frames
    for side in ("Patches", "Val"):
        assert content["counts"][side] == len(list((dataset / side / "LR").iterdir()))


def test_no_frame_is_on_both_sides_and_no_window_crosses_a_cut(videos: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path / "set")
    sides = [frames_used(tmp_path / "set", side) for side in ("Patches", "Val")]

    assert not sides[0] & sides[1]
    assert sides[1]
    for path in (tmp_path / "set").rglob("GT/three_*.png"):
        middle = int(path.stem.split("_")[2][1:])
        assert all(not (start - 2 <= middle < start + 2) for start in (24, 36)), path.name


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(videos: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path / "a")
    prepare(videos, tmp_path / "b")
    prepare(videos, tmp_path / "c", PatchSettings(**{**vars(TINY), "seed": 1}))

    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a").keys() != digest(tmp_path / "c").keys()


def test_the_same_request_again_does_nothing_and_says_so(videos: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path / "set")
    before = digest(tmp_path / "set")
    assert prepare(videos, tmp_path / "set") == [f"{tmp_path / 'set'} already holds this patch set: nothing to do"]
    assert digest(tmp_path / "set") == before


def test_the_manifest_says_how_colours_were_made_and_a_set_without_it_stays_usable(
    videos: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "set"
    prepare(videos, dataset)
    content = manifest(dataset)
    assert content.pop("conversion") == "bicubic chroma, accurate rounding, box mean"
    assert [source.pop("colours") for source in content["sources"]] == ["RGB", "RGB"]

    (dataset / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    before = digest(dataset)
    (line,) = prepare(videos, dataset)
    assert "nothing to do (an earlier version made it: pictures from video are 1 to 2 levels darker" in line
    assert digest(dataset) == before


def test_a_set_that_does_not_name_its_degradation_is_bicubic(videos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "set"
    prepare(videos, dataset)
    content = manifest(dataset)
    assert content["settings"].pop("degradation") == "bicubic"
    (dataset / "dataset.json").write_text(json.dumps(content), encoding="utf-8")

    assert "nothing to do" in prepare(videos, dataset)[0]
    with pytest.raises(UserError, match=r"degradation bicubic there, blur-down asked for"):
        prepare(videos, dataset, PatchSettings(**{**vars(TINY), "degradation": "blur-down"}))
    with pytest.raises(UserError, match=r"the degradation is 'box', but must be one of bicubic, blur-down"):
        PatchSettings(degradation="box")


def test_a_source_that_is_too_short_is_named(
    videos: Path, tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    write_video(videos / "single.mkv", textured(6, 1))
    write_video(videos / "short.mkv", [*textured(7, 4), *textured(9, 3)])
    lines = prepare(videos, tmp_path / "set")
    assert "single.mkv is skipped: its longest scene has 1 frames, but a sample takes 5 (N_FRAMES)" in lines
    assert {item["name"] for item in manifest(tmp_path / "set")["skipped"]} == {"single.mkv", "short.mkv"}


def test_a_video_that_ends_sooner_than_it_says_is_used_and_named(
    videos: Path, tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    whole = write_video(videos / "cut.mkv", textured(6, 60)).read_bytes()
    (videos / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    prepare(videos, tmp_path / "set")
    (damaged,) = manifest(tmp_path / "set")["damaged"]
    assert damaged["name"] == "cut.mkv"
    assert re.match(r"it is cut off: it ends at 1\.\d s of 2\.4 s|its data is damaged", damaged["reason"])


def test_hdr_is_mapped_or_left_out_as_the_settings_say_and_the_manifest_says_which(
    videos: Path, tmp_path: Path, textured: Textured
) -> None:
    frames = textured(8, 12)
    write_pq(videos / "bright.mkv", frames)
    prepare(videos, tmp_path / "mapped")
    sources = {source["name"]: source["colours"] for source in manifest(tmp_path / "mapped")["sources"]}
    assert re.fullmatch(r"RGB, PQ mapped to SDR, brightest 203\d cd/m²", sources["bright.mkv"])
    assert sources["one.mkv"] == "RGB"
    cut = [path for side in ("Patches", "Val") for path in (tmp_path / "mapped" / side / "GT").glob("bright*")]
    assert cut
    for path in cut:
        number, top, left = map(int, re.findall(r"_[fyx](\d+)", path.stem))
        picture = np.asarray(Image.open(path)).astype(int)
        original = frames[number][top:, left:][: picture.shape[0], : picture.shape[1]]
        dark = original.max(axis=2) < 150  # below where BT.2390 begins to compress
        dark[: max(0, 12 - top), : max(0, 12 - left)] = False
        assert not dark.any() or np.abs(picture - original)[dark].max() <= 1

    prepare(videos, tmp_path / "left-out", PatchSettings(**{**vars(TINY), "hdr": "leave-out"}))
    (skipped,) = manifest(tmp_path / "left-out")["skipped"]
    assert skipped["name"] == "bright.mkv"
    assert skipped["reason"] == "it is HDR with the transfer function PQ: convert it to SDR first"
    with pytest.raises(UserError, match="HDR is to be 'clip', but must be one of map, leave-out"):
        PatchSettings(hdr="clip")


def test_a_set_of_an_earlier_version_stays_whatever_is_asked_of_hdr(videos: Path, tmp_path: Path) -> None:
    prepare(videos, tmp_path / "set")
    content = manifest(tmp_path / "set")
    del content["settings"]["hdr"]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    for choice in ("map", "leave-out"):
        settings = PatchSettings(**{**vars(TINY), "hdr": choice})
        assert "nothing to do" in prepare(videos, tmp_path / "set", settings)[0]


def test_a_set_has_a_contact_sheet_of_lr_beside_gt(videos: Path, tmp_path: Path) -> None:
    lines = prepare(videos, tmp_path / "set")

    assert lines[-1].endswith(f"to look at: {tmp_path / 'set' / 'contact_sheet.jpg'}")
    cell_width, cell_height, gap = 2 * 180 + 8, 120 + 16, 8
    with Image.open(tmp_path / "set" / "contact_sheet.jpg") as sheet:
        pixels = np.asarray(sheet).astype(float)
    count = sum(manifest(tmp_path / "set")["counts"].values())
    assert pixels.shape == (-(-count // 4) * (cell_height + gap) + gap, 4 * (cell_width + gap) + gap, 3)
    first = sorted((tmp_path / "set" / "Val" / "GT").iterdir())[0]
    with Image.open(first) as gt:
        expected = np.asarray(gt.resize((150, 120), Image.Resampling.LANCZOS)).astype(float)  # GT is 60 x 48
    lr, shown = pixels[gap : gap + 120, gap : gap + 150], pixels[gap : gap + 120, gap + 158 : gap + 308]
    assert np.abs(shown - expected).mean() < 8  # JPEG
    assert np.abs(lr.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 8


def test_a_prepared_set_of_clips_needs_neither_clips_nor_network_any_more(
    clips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", str(tmp_path / "set"), "--clips", "small", "--patch-count", "20"]
    assert main([*arguments, "--clips-folder", str(clips_folder)]) == 0
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main([*arguments, "--clips-folder", str(tmp_path / "gone")]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_other_settings_or_videos_are_refused_and_nothing_is_touched(
    videos: Path, tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    prepare(videos, tmp_path / "set")
    before = digest(tmp_path / "set")
    with pytest.raises(UserError, match=r"other settings \(seed 0 there, 1 asked for\): take another DATASET_ROOT"):
        prepare(videos, tmp_path / "set", PatchSettings(**{**vars(TINY), "seed": 1}))
    write_video(videos / "new.mkv", textured(8, 9))
    with pytest.raises(UserError, match=r"made from the 2 videos .*asked for the 3 videos .*new\.mkv"):
        prepare(videos, tmp_path / "set")
    assert digest(tmp_path / "set") == before


def keep(videos: Path, dataset: Path, settings: PatchSettings = TINY) -> str:
    """The only line of a preparation that lets an existing set stay."""
    lines: list[str] = []
    before = digest(dataset)
    prepare_videos(videos, dataset, settings, Work(lines.append), keep=True)
    assert digest(dataset) == before
    (line,) = lines
    return line


def test_a_set_stays_although_videos_came_changed_went_or_are_away(
    videos: Path, tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    prepare(videos, tmp_path / "set")
    assert "nothing to do" in keep(videos, tmp_path / "set")

    write_video(videos / "new.mkv", textured(8, 9))
    (videos / "three.mkv").unlink()
    with (videos / "one.mkv").open("ab") as file:
        file.write(b"more")
    assert "stays as it is, although the videos differ (new: new.mkv; gone: three.mkv; changed: one.mkv)" in keep(
        videos, tmp_path / "set"
    )
    videos.rename(tmp_path / "unmounted")
    assert f"its videos are not there: the folder of videos {videos} does not exist" in keep(videos, tmp_path / "set")
    videos.mkdir()
    assert f"its videos are not there: {videos} holds no video" in keep(videos, tmp_path / "set")


def test_a_set_that_is_to_stay_is_refused_for_other_settings_clips_or_all_other_videos(
    videos: Path, tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    prepare(videos, tmp_path / "set")
    with pytest.raises(UserError, match=r"seed 0 there, 1 asked for"):
        keep(videos, tmp_path / "set", PatchSettings(**{**vars(TINY), "seed": 1}))
    (tmp_path / "others").mkdir()
    write_video(tmp_path / "others" / "new.mkv", textured(8, 9))
    with pytest.raises(UserError, match=r"made from the 2 videos .*asked for the 1 videos new\.mkv"):
        keep(tmp_path / "others", tmp_path / "set")

    path = tmp_path / "set" / "dataset.json"
    path.write_text(json.dumps({**manifest(tmp_path / "set"), "request": {"clips": "small"}}))
    with pytest.raises(UserError, match=r"made from the clips 'small'"):
        keep(videos, tmp_path / "set")


def test_without_a_set_the_wish_to_keep_one_makes_it(videos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    prepare_videos(videos, tmp_path / "set", TINY, Work(lines.append), keep=True)

    assert lines[-1].startswith(f"{tmp_path / 'set'} is ready")


def test_a_folder_of_someone_elses_files_is_never_written_into(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds files that were not prepared here"):
        prepare(videos, tmp_path / "set")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["thesis.txt"]


def test_an_interruption_leaves_no_set_and_the_next_start_goes_on(videos: Path, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "for validation" in line:
            raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        prepare_videos(videos, tmp_path / "set", TINY, Work(interrupt))
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / ".tmp-preparing-set"])

    assert "Going on with what an earlier start has done" in prepare(videos, tmp_path / "set")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "set"])
    assert not [path for path in (tmp_path / "set").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_terminated_command_leaves_no_set_and_no_process_behind(
    clips_folder: Path, tmp_path: Path, start_python: StartPython, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "ddp.vsr.prepare", "--dataset", str(tmp_path / "set"), "--videos"]
    command += [str(clips_folder)]
    with start_python(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert any("for validation" in line for line in process.stdout)  # stops reading there
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)  # schedulers repeat themselves
        assert process.wait(30) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == [".tmp-preparing-set"]
    assert psutil.wait_procs(workers, 20)[1] == []


def test_a_name_that_the_console_cannot_show_does_not_end_the_command(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "größe→.mp4").write_bytes(b"nothing" * 100)
    command = [sys.executable, "-m", "ddp.vsr.prepare", "--dataset", str(tmp_path / "set")]

    run = subprocess.run(
        [*command, "--videos", str(tmp_path / "videos")],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, encoding="latin-1", check=False,
    )  # fmt: skip

    assert run.returncode == 2, run.stderr
    assert r"größe\u2192.mp4 is skipped" in run.stdout


def test_unreadable_small_and_repeated_videos_are_named_and_skipped(
    videos: Path, tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    (videos / "broken.mp4").write_bytes(b"nothing" * 100)
    (videos / "copy.mkv").write_bytes((videos / "one.mkv").read_bytes())
    write_video(videos / "stamp.mkv", textured(9, 20, height=40, width=40))
    lines = prepare(videos, tmp_path / "set")

    skipped = {entry["name"]: entry["reason"] for entry in manifest(tmp_path / "set")["skipped"]}
    assert set(skipped) == {"broken.mp4", "one.mkv", "stamp.mkv"}
    assert skipped["one.mkv"] == "it has the same content as copy.mkv"
    assert "40x40" in skipped["stamp.mkv"]
    assert any(line.startswith("broken.mp4 is skipped: ") for line in lines)


def test_odd_entries_cost_themselves_and_are_named(
    tmp_path: Path, textured: Textured, put_odd_entries: Callable[[Path, str], None]
) -> None:
    for name, seed in (("day", 0), ("night", 3)):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number, frame in enumerate(textured(seed, 12)):
            Image.fromarray(frame).save(tmp_path / "videos" / name / f"{number}.png")
    put_odd_entries(tmp_path / "videos" / "day", ".png")
    put_odd_entries(tmp_path / "videos", ".mp4")
    (tmp_path / "videos" / "folder.mp4" / "thumb.jpg").unlink()
    (tmp_path / "videos" / "day" / "9.png").write_bytes(b"")
    lines = prepare(tmp_path / "videos", tmp_path / "set")

    skipped = {entry["name"]: entry["reason"] for entry in manifest(tmp_path / "set")["skipped"]}
    expected = {f"{folder}{kind}{suffix}": reason for folder, suffix in (("day/", ".png"), ("", ".mp4"))
                for kind, reason in ODD_KINDS.items()}  # fmt: skip
    del expected["huge.mp4"]
    assert {name: reason for name, reason in skipped.items() if name != "huge.mp4"} == {
        **expected,
        "day/9.png": "it is empty",
    }
    assert "huge.mp4" in skipped
    assert {f"{name} is skipped: {reason}" for name, reason in skipped.items()} <= set(lines)
    assert manifest(tmp_path / "set")["counts"]["Patches"] > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_video_without_permission_is_skipped(videos: Path, tmp_path: Path) -> None:
    (videos / "secret.mp4").write_bytes(b"secret")
    (videos / "secret.mp4").chmod(0)

    assert "secret.mp4 is skipped: Permission denied" in prepare(videos, tmp_path / "set")


def test_a_damaged_video_is_used_up_to_the_damage_and_named(clips_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    content = (clips_folder / "cityCC0.mpg").read_bytes()
    (folder / "city.mpg").write_bytes(content[: len(content) // 2])
    (folder / "bikes.mp4").write_bytes((clips_folder / "bikes.mp4").read_bytes())
    lines = prepare(folder, tmp_path / "set")

    assert [entry["name"] for entry in manifest(tmp_path / "set")["damaged"]] == ["city.mpg"]
    assert any("city.mpg is damaged" in line for line in lines)


def test_a_single_scene_is_parted_with_a_warning(tmp_path: Path, textured: Textured, write_video: VideoMaker) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "only.mkv", textured(0, 90))
    lines = prepare(folder, tmp_path / "set")

    train, val = (frames_used(tmp_path / "set", side) for side in ("Patches", "Val"))
    assert min(val)[1] - max(train)[1] > 50  # two seconds at 25 frames per second
    assert any(line.startswith("warning: only.mkv is the only scene") for line in lines)
    assert [scene["side"] for scene in manifest(tmp_path / "set")["sources"][0]["scenes"]] == ["Patches", "Val"]


def test_an_image_sequence_is_as_good_as_a_video(tmp_path: Path, textured: Textured) -> None:
    for name, seed in (("day", 0), ("night", 3)):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number, frame in enumerate(textured(seed, 12)):
            Image.fromarray(frame).save(tmp_path / "videos" / name / f"{number}.png")
    prepare(tmp_path / "videos", tmp_path / "set")
    assert {len(manifest(tmp_path / "set")["sources"]), manifest(tmp_path / "set")["counts"]["Val"]} == {2, 3}


def test_deep_pictures_are_scaled_and_those_of_numbers_without_a_white_are_named(
    videos: Path, tmp_path: Path, textured: Textured
) -> None:
    for number, frame in enumerate(textured(7, 20)):
        for name, image in (
            ("deep", Image.fromarray(frame[..., 0].astype(np.uint16) * 257)),
            ("float", Image.fromarray(frame[..., 0].astype(np.float32) / 255)),
        ):
            (videos / name).mkdir(exist_ok=True)
            image.save(videos / name / f"{number:03d}.tif")
    lines = prepare(videos, tmp_path / "set")

    assert any(
        "float is skipped: none of its images can be read" in line and "floating-point" in line for line in lines
    )
    patch = sorted((tmp_path / "set/Patches/GT").glob("deep_*"))[0]
    frame, top, left = (int(part[1:]) for part in patch.stem.split("_")[2:])
    expected = textured(7, 20)[frame][top : top + 48, left : left + 48, 0]
    np.testing.assert_array_equal(np.asarray(Image.open(patch))[..., 1], expected)


def test_nothing_but_flat_pictures_is_an_error_and_leaves_nothing(tmp_path: Path, write_video: VideoMaker) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, grey in (("a.mkv", 20), ("b.mkv", 90)):
        write_video(folder / name, [np.full((96, 120, 3), grey, np.uint8)] * 20)
    with pytest.raises(UserError, match=r"not one sample for Patches .*rejected: 27 flat; videos skipped: "):
        prepare(folder, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "nowhere"], "the folder of videos nowhere does not exist"),
        (["--videos", "/dev/null"], "the folder of videos /dev/null is no folder"),
        (
            ["--clips", "small", "--clips-folder", "/dev/null/clips"],
            "the folder /dev/null/clips for the patch set cannot be",
        ),
        (["--videos", ".", "--scale", "5"], "the scale is 5, but must be 2, 3 or 4"),
        (["--videos", ".", "--frames", "4"], "the number of frames is 4, but must be odd"),
        (["--videos", ".", "--patch-size", "100"], "the patch size is 100, but must be a multiple of the scale 3"),
        (["--videos", ".", "--val-count", "0"], "must all be positive"),
        (["--videos", ".", "--val-share", "1"], "the validation share is 1.0"),
    ],
)
def test_the_command_says_in_one_sentence_what_was_wrong_and_exits_with_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dataset", str(tmp_path / "set"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""Whole upscalings of videos: what is kept, what is refused, and what an interruption leaves."""

import errno
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from ddp.inference.network import TrainedNetwork
from ddp.inference.upscale.enlarger import Enlarger
from ddp.inference.upscale.output.job_folder import job_path
from ddp.inference.upscale.work import Wishes, upscale
from ddp.vsr.pictures import read_picture
from ddp.vsr.prepare.frames.colours import RgbConverter
from service.errors import UserError
from tests.ddp.harness.colour_formula import NUMBERS, Planes, natural_planes, rgb_of
from tests.ddp.harness.full_folder import full_folder
from tests.ddp.harness.hdr_video import write_pq
from tests.ddp.inference.conftest import Video, bilinear, planes_in, trained

CPU = torch.device("cpu")


def run(source: Path, target: Path, network: TrainedNetwork, **wishes: Any) -> list[str]:
    lines: list[str] = []
    upscale(source, target, network, CPU, Wishes(**wishes), lines.append)
    return lines


def moving(count: int, height: int = 48, width: int = 64, cut_at: int = 0) -> list[Planes]:
    """A scene that pans; from `cut_at` on another one, which is darker."""
    luma, blue, red = natural_planes(height, width + 4 * count)
    frames = []
    for number in range(count):
        share = 0.4 if cut_at and number >= cut_at else 1.0
        window = slice(2 * number, 2 * number + width)
        small = slice(number, number + width // 2)
        frames.append((np.round(16 + share * (luma[:, window] - 16)), blue[:, small], red[:, small]))
    return frames


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


@pytest.mark.parametrize("matrix", list(NUMBERS))
@pytest.mark.parametrize("full", [False, True])
def test_the_untrained_networks_video_has_the_colours_of_the_bilinear_enlargement(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork, matrix: str, full: bool
) -> None:
    planes = natural_planes(96, 128)
    source = write_clip(tmp_path / "a.mp4", [planes], colorspace=NUMBERS[matrix], color_range=2 if full else 1)

    run(source, tmp_path / "b.mp4", network, quality=0)

    (made,) = planes_in(tmp_path / "b.mp4")
    expected = bilinear(rgb_of(planes, matrix, left=True, full=full), 3)
    difference = (rgb_of(made, matrix, left=True, full=full) - expected)[6:-6, 6:-6]
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.05
    assert np.abs(difference).mean() < 0.6  # 8 bits of three planes, rounded once


def test_an_untagged_small_video_that_becomes_hd_is_tagged_with_the_matrix_that_it_was_taken_for(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork
) -> None:
    source = write_clip(tmp_path / "a.mp4", [natural_planes(480, 640)])
    run(source, tmp_path / "b.mp4", network)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 6


def test_ten_bits_stay_ten_bits(tmp_path: Path, write_clip: Video, network: TrainedNetwork) -> None:
    planes = natural_planes(48, 64, depth=10)
    source = write_clip(tmp_path / "a.mkv", [planes], pixel_format="yuv420p10le")
    run(source, tmp_path / "b.mkv", network, quality=0)
    (made,) = planes_in(tmp_path / "b.mkv", "yuv420p10le")
    assert abs(made[0].mean() - bilinear(np.stack([planes[0]] * 3, -1), 3).mean()) < 1.0  # of 1024 levels


def test_times_pixel_aspect_and_sound_are_kept(tmp_path: Path, write_clip: Video, network: TrainedNetwork) -> None:
    times = [0, 40, 57, 200, 201, 700]
    source = write_clip(tmp_path / "a.mp4", moving(6), times, sound=0.5, sample_aspect_ratio=Fraction(16, 15))

    run(source, tmp_path / "b.mp4", network)

    assert times_of(tmp_path / "b.mp4") == [Fraction(time, 1000) for time in times]
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mp4")) as after:
        assert after.streams.video[0].sample_aspect_ratio == Fraction(16, 15)
        sound = [[bytes(packet) for packet in one.demux(audio=0) if packet.size] for one in (before, after)]
    assert sound[0] == sound[1]
    assert len(sound[0]) > 10


def test_a_turned_video_is_upright_and_its_pixel_aspect_turned(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork, turned: Callable[[Path, Path], None]
) -> None:
    plain = write_clip(tmp_path / "plain.mp4", [natural_planes(48, 64)], sample_aspect_ratio=Fraction(16, 15))
    turned(plain, tmp_path / "a.mp4")

    run(tmp_path / "a.mp4", tmp_path / "b.mp4", network)

    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (144, 192)
        assert stream.sample_aspect_ratio == Fraction(15, 16)
        assert next(container.decode(stream)).rotation == 0


@pytest.fixture
def turned() -> Callable[[Path, Path], None]:
    """Copy an MP4 file with another display matrix in its header."""

    def turn(source: Path, target: Path) -> None:
        content = bytearray(source.read_bytes())
        place = content.index(b"tkhd") + 44
        one = (1 << 16).to_bytes(4, "big")
        minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
        zero, last = bytes(4), (1 << 30).to_bytes(4, "big")
        content[place : place + 36] = zero + one + zero + minus + zero + zero + zero + zero + last
        target.write_bytes(content)

    return turn


def test_the_neighbours_of_a_frame_never_come_from_another_scene(tmp_path: Path, write_clip: Video) -> None:
    network = trained()
    frames = moving(10, cut_at=5)
    write_clip(tmp_path / "a.mkv", frames)
    write_clip(tmp_path / "first.mkv", frames[:5])

    lines = run(tmp_path / "a.mkv", tmp_path / "b.mkv", network, quality=0)
    run(tmp_path / "first.mkv", tmp_path / "c.mkv", network, quality=0)

    assert "10 frames in 2 scenes" in lines[0]
    alone = planes_in(tmp_path / "c.mkv")
    for made, expected in zip(planes_in(tmp_path / "b.mkv"), alone, strict=False):
        assert (made[0] == expected[0]).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_video_that_is_shorter_than_a_window_is_enlarged(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork, count: int
) -> None:
    source = write_clip(tmp_path / "a.mp4", moving(count))
    run(source, tmp_path / "b.mp4", network)
    assert len(planes_in(tmp_path / "b.mp4")) == count


class _InterruptedError(Exception):
    pass


@pytest.fixture
def stopping_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Let the enlarging fail after so many frames; the list counts those that were made."""
    real = Enlarger.enlarge

    def stop(count: int) -> list[int]:
        made: list[int] = []

        def enlarge(self: Enlarger, window: Sequence[torch.Tensor]) -> torch.Tensor:
            if len(made) == count:
                raise _InterruptedError
            made.append(1)
            return real(self, window)

        monkeypatch.setattr(Enlarger, "enlarge", enlarge)
        return made

    return stop


def test_an_interrupted_work_leaves_no_output_and_the_next_start_goes_on_with_the_same_result(
    tmp_path: Path, write_clip: Video, stopping_after: Callable[[int], list[int]]
) -> None:
    network, target = trained(), tmp_path / "b.mkv"
    source = write_clip(tmp_path / "a.mkv", moving(12, cut_at=7), sound=0.3)
    run(source, tmp_path / "whole.mkv", network, quality=0)

    stopping_after(5)
    with pytest.raises(_InterruptedError):
        run(source, target, network, quality=0)
    assert not target.exists()
    made = stopping_after(100)
    lines = run(source, target, network, quality=0)

    assert "Going on after 5 of 12 frames, which were made before" in lines
    assert len(made) == 7
    assert not job_path(target).exists()
    assert times_of(target) == times_of(tmp_path / "whole.mkv")
    for one, other in zip(planes_in(target), planes_in(tmp_path / "whole.mkv"), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_parts_of_another_network_are_not_gone_on_with(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork, stopping_after: Callable[[int], list[int]]
) -> None:
    source = write_clip(tmp_path / "a.mkv", moving(6))
    stopping_after(3)
    with pytest.raises(_InterruptedError):
        run(source, tmp_path / "b.mkv", trained())
    made = stopping_after(100)
    run(source, tmp_path / "b.mkv", network)
    assert len(made) == 6


def test_a_full_disk_is_one_sentence_and_no_output(tmp_path: Path, write_clip: Video, network: TrainedNetwork) -> None:
    source = write_clip(tmp_path / "a.mkv", moving(6))
    with full_folder(tmp_path / "full") as full:
        with pytest.raises(UserError, match=r"could not be written|is no folder"):
            run(source, full.path / "b.mkv", network, quality=0)
        full.make_room()
        full.path.mkdir(exist_ok=True)
        run(source, full.path / "b.mkv", network, quality=0)
        assert len(planes_in(full.path / "b.mkv")) == 6


def test_a_disk_that_is_full_at_the_end_keeps_what_is_done(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "a.mkv", moving(3))

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ddp.inference.upscale.output.video_writer.os.fsync", fail)
        with pytest.raises(UserError, match=r"could not be written .No space left on device"):
            run(source, tmp_path / "b.mkv", network)
    assert not (tmp_path / "b.mkv").exists()


def cut_off(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_file_that_is_cut_off_is_refused_unless_asked_for(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork, suffix: str
) -> None:
    source = cut_off(write_clip(tmp_path / f"a{suffix}", moving(40)), 0.6)

    with pytest.raises(UserError, match=r"is damaged after frame .* give --until-damage") as error:
        run(source, tmp_path / "b.mkv", network)
    assert str(source) in str(error.value)
    assert not (tmp_path / "b.mkv").exists()

    run(source, tmp_path / "b.mkv", network, until_damage=True)
    assert 10 < len(planes_in(tmp_path / "b.mkv")) < 40


def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path, network: TrainedNetwork) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video" * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())

    reasons = {"empty.mp4": "it is empty", "text.mp4": "cannot be upscaled", "sound.mp4": "holds no video stream"}
    for name, reason in {**reasons, "missing.mp4": "does not exist"}.items():
        with pytest.raises(UserError, match=reason):
            run(tmp_path / name, tmp_path / "b.mp4", network)
    assert not (tmp_path / "b.mp4").exists()


def test_hdr_is_refused_by_its_name(tmp_path: Path, write_clip: Video, network: TrainedNetwork) -> None:
    planes = natural_planes(48, 64, depth=10)
    source = write_clip(tmp_path / "a.mp4", [planes], pixel_format="yuv420p10le", color_trc=16, colorspace=9)
    with pytest.raises(UserError, match="transfer function PQ: convert it to SDR first, or give --map-hdr"):
        run(source, tmp_path / "b.mp4", network)


def test_hdr_is_mapped_to_tagged_sdr_where_that_is_asked_for(tmp_path: Path, network: TrainedNetwork) -> None:
    picture = rgb_of(natural_planes(96, 128), "BT.709", left=True, full=False).clip(0, 255).round().astype(np.uint8)
    write_pq(tmp_path / "a.mkv", [picture])

    lines = run(tmp_path / "a.mkv", tmp_path / "b.mp4", network, maps_hdr=True, quality=0)

    assert any("is HDR: mapped to SDR from 203" in line for line in lines)
    with av.open(str(tmp_path / "b.mp4")) as container:
        (frame,) = container.decode(video=0)
        made = RgbConverter().convert(frame).astype(float)
    assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (1, 1, 1)
    expected = bilinear(picture.astype(np.float64), 3)
    dark = expected.max(axis=2) < 150  # below where BT.2390 begins to compress
    dark[:48, :48] = False  # the bright spot
    difference = (made - expected)[dark]
    assert len(difference) > 10_000
    assert np.abs(difference.mean(axis=0)).max() < 0.3
    assert np.abs(difference).mean() < 1.0


def test_sound_that_a_container_cannot_keep_is_said_before_the_work(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork
) -> None:
    source = write_clip(tmp_path / "a.mp4", moving(2), sound=0.2)
    with pytest.raises(UserError, match=r"the sound .* \(aac\) cannot be kept in .webm: name OUT with .mkv"):
        run(source, tmp_path / "b.webm", network)
    run(source, tmp_path / "b.webm", network, with_sound=False)
    assert len(planes_in(tmp_path / "b.webm")) == 2


def test_an_existing_output_is_never_touched_unless_asked_for(
    tmp_path: Path, write_clip: Video, network: TrainedNetwork
) -> None:
    source = write_clip(tmp_path / "a.mp4", moving(1))
    target = tmp_path / "b.mp4"
    target.write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        run(source, target, network)
    assert target.read_text() == "precious"
    with pytest.raises(UserError, match="is the input itself"):
        run(source, source, network, replaces=True)

    run(source, target, network, replaces=True)

    assert len(planes_in(target)) == 1


def test_a_grey_video_is_grey_in_a_pixel_format_that_every_player_shows(
    tmp_path: Path, network: TrainedNetwork
) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 8, "gray"
        frame = av.VideoFrame.from_ndarray(np.full((8, 16), 77, np.uint8), format="gray")
        container.mux([*stream.encode(frame), *stream.encode()])
    run(tmp_path / "a.mkv", tmp_path / "b.mp4", network)
    (made,) = planes_in(tmp_path / "b.mp4")
    assert [plane.mean() for plane in made] == pytest.approx([77, 128, 128], abs=0.6)


@pytest.mark.parametrize(("height", "width"), [(49, 64), (48, 65)])
def test_an_odd_size_is_kept(
    tmp_path: Path, write_video: Callable[..., Path], network: TrainedNetwork, height: int, width: int
) -> None:
    frames = [np.full((height, width, 3), 90, np.uint8)] * 2
    source = write_video(tmp_path / "a.mkv", frames)
    lines = run(source, tmp_path / "b.mp4", network)
    assert any("is odd" in line for line in lines)
    (made, _) = planes_in(tmp_path / "b.mp4", "yuv444p")
    assert made[0].shape == (3 * height, 3 * width)


def test_a_video_becomes_a_folder_of_pictures(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    frames = [np.full((8, 12, 3), 10 * i, np.uint8) for i in range(3)]
    source = write_video(tmp_path / "a.mkv", frames)
    network = trained(scale=2)
    run(source, tmp_path / "out", network)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"frame_{i:06d}.png" for i in range(3)]
    assert read_picture(tmp_path / "out" / "frame_000001.png").shape == (16, 24, 3)

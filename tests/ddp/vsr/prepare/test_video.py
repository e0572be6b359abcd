"""Decoding against videos whose pixels are known, and real clips with real damage."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from ddp.vsr.prepare.missing import missing_part
from ddp.vsr.prepare.scenes import survey
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import DamagedVideoError, frames_per_second, read_frames, read_thumbnails
from ddp.vsr.unreadable import Skipped

Textured = Callable[..., list[NDArray[np.uint8]]]
VideoMaker = Callable[[Path, list[NDArray[np.uint8]]], Path]

NINETY_DEGREES = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))


def source_of(path: Path) -> Source:
    return Source(path.name, path)


def write_images(folder: Path, frames: list[NDArray[np.uint8]], name: str = "frame_{}.png") -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(number))
    return folder


def test_every_frame_of_a_video_comes_in_order_and_unchanged(
    tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    frames = textured(0, 7, height=50, width=70)
    source = source_of(write_video(tmp_path / "a.mkv", frames))

    decoded = list(read_frames(source))
    assert [number for number, _ in decoded] == list(range(7))
    np.testing.assert_array_equal(np.stack([frame for _, frame in decoded]), np.stack(frames))
    assert frames_per_second(source) == 25.0


def test_only_the_wanted_frames_are_given(tmp_path: Path, textured: Textured, write_video: VideoMaker) -> None:
    frames = textured(0, 9)
    source = source_of(write_video(tmp_path / "a.mkv", frames))

    decoded = dict(read_frames(source, {2, 5}))
    assert list(decoded) == [2, 5]
    np.testing.assert_array_equal(decoded[5], frames[5])
    assert list(read_frames(source, set())) == []


def test_a_folder_of_images_is_read_in_the_order_of_its_numbers(tmp_path: Path, textured: Textured) -> None:
    frames = textured(1, 12)
    source = source_of(write_images(tmp_path / "shot", frames))

    np.testing.assert_array_equal(np.stack([frame for _, frame in read_frames(source)]), np.stack(frames))
    assert len(list(read_thumbnails(source))) == 12


def test_big_frames_are_halved_by_area(tmp_path: Path, textured: Textured, write_video: VideoMaker) -> None:
    frames = textured(2, 1, height=64, width=80)
    mean = frames[0].reshape(32, 2, 40, 2, 3).mean(axis=(1, 3))
    for source in (
        source_of(write_video(tmp_path / "a.mkv", frames)),
        source_of(write_images(tmp_path / "shot", frames)),
    ):
        _, halved = next(read_frames(source, halve_from=64))
        assert np.abs(halved - mean).max() <= 1
        _, whole = next(read_frames(source, halve_from=65))
        np.testing.assert_array_equal(whole, frames[0])


def test_a_rotated_video_comes_upright(clips_folder: Path, tmp_path: Path) -> None:
    """The matrix in the track header is the one a phone writes that was held upright: turn by 90° clockwise."""
    content = bytearray((clips_folder / "bikes.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = NINETY_DEGREES
    rotated = tmp_path / "rotated.mp4"
    rotated.write_bytes(content)

    _, plain = next(read_frames(source_of(clips_folder / "bikes.mp4")))
    _, upright = next(read_frames(source_of(rotated)))
    np.testing.assert_array_equal(upright, np.rot90(plain, -1))


def test_a_thumbnail_is_the_grey_mean_of_its_area(tmp_path: Path) -> None:
    columns = np.repeat(np.arange(64, dtype=np.uint8) * 4, 2)
    frame = np.broadcast_to(columns[None, :, None], (72, 128, 3)).copy()
    (thumbnail,) = read_thumbnails(source_of(write_images(tmp_path / "shot", [frame])))
    assert not isinstance(thumbnail, Skipped)
    np.testing.assert_array_equal(thumbnail.grey, np.broadcast_to(np.arange(64) * 4, (36, 64)))


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "cityCC0.mpg"])
def test_a_clip_damaged_in_the_middle_gives_good_frames_up_to_the_damage(
    clips_folder: Path, tmp_path: Path, name: str
) -> None:
    content = bytearray((clips_folder / name).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = np.random.default_rng(0).bytes(20_000)
    damaged = tmp_path / name
    damaged.write_bytes(content)

    good: list[NDArray[np.uint8]] = []
    with pytest.raises(DamagedVideoError):
        good.extend(frame for _, frame in read_frames(source_of(damaged)))
    originals = dict(read_frames(source_of(clips_folder / name), range(len(good))))
    assert len(good) > 20
    np.testing.assert_array_equal(good[-1], originals[len(good) - 1])


def test_what_is_no_video_is_a_damage_and_not_a_crash(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all")
    for read in (lambda source: next(read_frames(source)), frames_per_second):
        with pytest.raises(DamagedVideoError, match=r"^it is no video, or so much of it is missing"):
            read(source_of(text))


def test_a_file_with_sound_only_says_that_it_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(DamagedVideoError, match="no video stream"):
        next(read_frames(source_of(path)))


def test_a_video_that_changes_its_size_is_used_up_to_the_change(tmp_path: Path, textured: Textured) -> None:
    content = b""
    for number, height in enumerate((96, 64)):
        part = tmp_path / f"{number}.ts"
        with av.open(str(part), "w") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, 120, "yuv420p"
            for frame in textured(number, 6, height=height):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        content += part.read_bytes()
    (tmp_path / "both.ts").write_bytes(content)

    found = survey(source_of(tmp_path / "both.ts"))
    assert (found.width, found.height) == (120, 96)
    assert 4 <= found.frame_count <= 6
    assert found.damage == "the frame size changes from 120x96 to 120x64"


def test_a_cover_picture_is_no_video(tmp_path: Path, textured: Textured) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("png", rate=25)
        cover.height, cover.width, cover.pix_fmt = 96, 120, "rgb24"
        cover.disposition = Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        container.mux(cover.encode(av.VideoFrame.from_ndarray(textured(0, 1)[0], format="rgb24")))
        container.mux(sound.encode())
        container.mux(cover.encode())
    with pytest.raises(DamagedVideoError, match="only a cover picture"):
        next(read_frames(source_of(path)))


def test_a_list_of_other_files_is_no_video(tmp_path: Path, textured: Textured, write_video: VideoMaker) -> None:
    write_video(tmp_path / "a.mkv", textured(0, 3))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mkv\nfile a.mkv\n")
    with pytest.raises(DamagedVideoError, match="a list of other files"):
        next(read_frames(source_of(tmp_path / "list.mp4")))


def test_a_name_like_an_address_is_a_file(
    tmp_path: Path, textured: Textured, write_video: VideoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "10:30.mkv", textured(0, 2))
    monkeypatch.chdir(tmp_path)
    assert len(list(read_frames(source_of(Path("10:30.mkv"))))) == 2


def test_a_cameras_mjpeg_whose_pictures_hold_exif_is_read_and_turned(tmp_path: Path, textured: Textured) -> None:
    """EXIF is side data that PyAV has no name for; orientation 5 mirrors along the diagonal."""
    exif, content = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 5
    Image.fromarray(textured(0, 1)[0]).save(content, "jpeg", quality=95, exif=exif)
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 120, "yuvj420p"
        for number in range(2):
            packet = av.Packet(content.getvalue())
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, True
            container.mux(packet)
    shown = [frame for _, frame in read_frames(source_of(tmp_path / "a.avi"))]
    with Image.open(content) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.float64)
    assert [frame.shape for frame in shown] == [(120, 96, 3)] * 2
    assert np.abs(shown[0] - expected).mean() < 2


def test_an_mxf_file_that_is_cut_off_says_so(tmp_path: Path, textured: Textured) -> None:
    path = tmp_path / "a.mxf"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 120, "yuv420p"
        for frame in textured(0, 40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert missing_part(path) == ""
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    path.write_bytes(path.read_bytes()[:place])
    assert missing_part(path) == "it is cut off: it ends at 0.8 s of 1.6 s"


def test_metadata_in_another_encoding_does_no_harm(tmp_path: Path, textured: Textured) -> None:
    path = tmp_path / "old.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a title of 8 bits"
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 120, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(textured(0, 1)[0], format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"a title", b"\xe4 title"))

    assert len(list(read_frames(source_of(path)))) == 1


def test_a_video_of_an_unknown_codec_is_a_damage_and_not_a_crash(
    tmp_path: Path, textured: Textured, write_video: VideoMaker
) -> None:
    path = write_video(tmp_path / "new.mkv", textured(0, 2))
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_LATE"))

    for read in (read_frames, read_thumbnails):
        with pytest.raises(DamagedVideoError):
            list(read(source_of(path)))


def test_an_image_of_another_size_or_cut_off_is_named_where_it_is_wanted(tmp_path: Path, textured: Textured) -> None:
    folder = write_images(tmp_path / "sizes", [*textured(0, 3), *textured(0, 1, height=48)])
    with pytest.raises(DamagedVideoError, match=r"frame_3\.png is 120x48, those before 120x96"):
        list(read_frames(source_of(folder)))

    folder = write_images(tmp_path / "cut", textured(0, 3))
    (folder / "frame_1.png").write_bytes((folder / "frame_1.png").read_bytes()[:300])
    with pytest.raises(DamagedVideoError, match=r"frame_1\.png"):
        list(read_frames(source_of(folder)))
    assert [number for number, _ in read_frames(source_of(folder), {0, 2})] == [0, 2]


def test_an_image_that_cannot_be_read_is_a_named_gap_between_thumbnails(tmp_path: Path, textured: Textured) -> None:
    folder = write_images(tmp_path / "cut", textured(0, 4))
    (folder / "frame_1.png").write_bytes((folder / "frame_1.png").read_bytes()[:300])
    (folder / "frame_2.png").write_bytes(b"")
    first, cut, empty, last = read_thumbnails(source_of(folder))

    assert not isinstance(first, Skipped)
    assert not isinstance(last, Skipped)
    assert isinstance(cut, Skipped)
    assert cut.name == "frame_1.png"
    assert "truncated" in cut.reason
    assert empty == Skipped("frame_2.png", "it is empty")

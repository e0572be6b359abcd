"""HDR against values that the ITU publishes, BT.2390's curve in scalar float64, and ffmpeg's zscale (zimg)."""

import math
import shutil
import subprocess

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.colours import RgbConverter, UnknownColoursError, brightness_of, colours_of
from ddp.vsr.prepare.frames.hdr import (
    BT_709,
    BT_2020,
    HLG,
    P3_D65,
    PQ,
    HdrColours,
    as_sdr,
    compressed,
    hlg_scene,
    knee,
    matrix_between,
    pq_light,
    pq_signal,
)
from ddp.vsr.prepare.scenes import survey
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import DamagedVideoError, read_frames
from tests.ddp.harness.colour_formula import natural_noise

NUMBERS = {"pq": 16, "hlg": 18}


def natural_rgb(height: int, width: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(3)
    grey = natural_noise(random, height, width)[..., None]
    colour = np.stack([natural_noise(random, height, width) for _ in range(3)], axis=-1)
    return (120 + 45 * grey + 15 * colour).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(("light", "signal"), [(0, 0), (100, 0.50808), (203, 0.58069), (1000, 0.75183), (10000, 1)])
def test_pq_has_the_published_values(light: float, signal: float) -> None:
    assert pq_signal(np.array(float(light))) == pytest.approx(signal, abs=2e-5)
    assert pq_light(pq_signal(np.array(float(light)))) == pytest.approx(light, abs=1e-6)


def test_hlg_has_the_published_values() -> None:
    """BT.2408, table 1: 75 % is reference white, 203 cd/m² on a screen of 1000; 38 % is grey of 18 %, 26 cd/m²."""
    assert hlg_scene(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, 1 / 12, 1], abs=1e-6)
    shown = 1000 * hlg_scene(np.array([0.75, 0.38])) ** 1.2
    assert shown == pytest.approx([203, 26], abs=0.6)


def test_the_matrix_from_bt_2020_is_the_one_of_bt_2407() -> None:
    published = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert matrix_between(BT_2020, BT_709) == pytest.approx(np.array(published), abs=1e-4)
    for primaries in (BT_2020, P3_D65):
        assert matrix_between(primaries, BT_709) @ np.ones(3) == pytest.approx(np.ones(3))


def eetf(light: float, peak: float, target: float) -> float:
    """BT.2390-10, 5.4.1, step by step, for one value."""

    def encode(y: float) -> float:
        power = (y / 10000) ** 0.1593017578125
        return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)

    e1, max_lum = min(encode(light) / encode(peak), 1.0), encode(target) / encode(peak)
    ks = 1.5 * max_lum - 0.5
    if e1 >= ks:
        t = (e1 - ks) / (1 - ks)
        e1 = (2 * t**3 - 3 * t**2 + 1) * ks + (t**3 - 2 * t**2 + t) * (1 - ks) + (-2 * t**3 + 3 * t**2) * max_lum
    root = (e1 * encode(peak)) ** (1 / 78.84375)
    return float(10000 * (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125))


@pytest.mark.parametrize("peak", [400.0, 1000.0, 4000.0, 10000.0])
def test_brightness_is_compressed_as_bt_2390_says(peak: float) -> None:
    light = np.geomspace(0.01, peak, 60)
    expected = [eetf(value, peak, 203.0) for value in light]
    found = compressed(light, peak)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[-1] == pytest.approx(203)
    assert (np.diff(found) > 0).all()
    below = light < knee(peak)
    assert below.any()
    assert found[below] == pytest.approx(light[below])


def test_white_that_is_the_brightest_stays_as_it_is() -> None:
    light = np.array([0.0, 1.0, 50.0, 202.9, 203.0, 300.0])
    assert compressed(light, 203.0) == pytest.approx(np.minimum(light, 203))
    assert compressed(light, 80.0) == pytest.approx(np.minimum(light, 203))


def encoded(picture: NDArray[np.uint8], transfer: int, primaries: int, gain: float = 1.0) -> NDArray[np.uint16]:
    """SDR as HDR of 16 bits: BT.1886, times 203 cd/m² and a gain; for HLG through the inverse of its OOTF."""
    light = np.maximum(gain * 203 * (picture / 255) ** 2.4 @ matrix_between(BT_709, primaries).T, 0)
    if transfer == PQ:
        return np.round(65535 * pq_signal(light)).astype(np.uint16)
    weights = np.array([0.2627, 0.6780, 0.0593])
    shown = light / 1000
    luminance = shown @ weights
    scene = shown * np.maximum(luminance, 1e-12)[..., None] ** (1 / 1.2 - 1)
    root = np.sqrt(3 * scene)
    log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-12)) + 0.55991073
    return np.round(65535 * np.where(scene <= 1 / 12, root, log)).astype(np.uint16)


@pytest.mark.parametrize(("transfer", "primaries"), [(PQ, BT_2020), (PQ, P3_D65), (PQ, BT_709), (HLG, BT_2020)])
def test_what_was_sdr_comes_back_to_rounding(transfer: int, primaries: int) -> None:
    picture = natural_rgb(64, 96)
    found = as_sdr(encoded(picture, transfer, primaries), HdrColours(transfer, primaries), 203.0)
    assert np.abs(found.astype(int) - picture).max() <= 1


def test_hues_of_what_is_compressed_stay() -> None:
    """Each pixel is darkened as a whole: its brightest channel follows the curve, the others in proportion."""
    picture = natural_rgb(32, 48)
    found = as_sdr(encoded(picture, PQ, BT_2020, gain=4.0), HdrColours(PQ, BT_2020), 812.0)
    light = 812 * (picture / 255.0) ** 2.4
    brightest = light.max(axis=2)
    factor = np.array([eetf(v, 812.0, 203.0) / v for v in brightest.ravel()]).reshape(brightest.shape)
    expected = 255 * (light * factor[..., None] / 203) ** (1 / 2.4)
    assert np.abs(found - expected).max() < 1
    assert found.max() > 240


def hdr_frame(signal: NDArray[np.uint16], transfer: int, pixel_format: str = "rgb48le") -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(signal, format="rgb48le")
    if pixel_format != "rgb48le":
        frame = frame.reformat(format=pixel_format, dst_colorspace=9)
        frame.colorspace = 9
    frame.color_trc, frame.color_primaries = transfer, 9
    return frame


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_frame_is_mapped_only_where_that_is_asked_for(transfer: int) -> None:
    picture = natural_rgb(48, 64)
    frame = hdr_frame(encoded(picture, transfer, BT_2020), transfer)
    with pytest.raises(UnknownColoursError, match="HDR with the transfer function"):
        RgbConverter().convert(frame)
    assert np.abs(RgbConverter(203.0).convert(frame).astype(int) - picture).max() <= 1
    assert colours_of(frame, maps_hdr=True) == f"RGB, {'PQ' if transfer == PQ else 'HLG'} mapped to SDR"


def test_primaries_that_are_not_known_are_named() -> None:
    frame = hdr_frame(encoded(natural_rgb(16, 16), PQ, BT_2020), PQ)
    frame.color_primaries = 10  # XYZ
    with pytest.raises(UnknownColoursError, match=r"primaries 10 of H\.273"):
        RgbConverter(203.0).convert(frame)


def test_the_brightest_spot_is_found_and_noise_is_none() -> None:
    picture = np.full((128, 128, 3), 128, np.uint8)
    picture[:32, :32] = 255
    picture[100, 100] = 255
    frame = hdr_frame(encoded(picture, PQ, BT_2020, gain=3.0), PQ)
    assert brightness_of(frame) == pytest.approx(609, rel=0.001)
    assert brightness_of(hdr_frame(encoded(picture // 4, PQ, BT_2020), PQ)) == 203.0
    assert brightness_of(av.VideoFrame.from_ndarray(picture, format="rgb24")) == 0.0


@pytest.fixture(scope="module")
def zscaled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[NDArray[np.uint8], Source]]:
    """A picture of SDR, and it as HDR video by ffmpeg's zscale: what players and colourists use.

    In grey for HLG, since zimg 3.0.4 applies its gamma of 1.2 to each channel and not, as BT.2100 says, to luminance.
    """
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    folder = tmp_path_factory.mktemp("hdr")
    picture = natural_rgb(144, 192)
    made = {}
    for name, transfer in (("pq", "smpte2084"), ("hlg", "arib-std-b67")):
        path = folder / f"{name}.mkv"
        shown = picture if name == "pq" else np.repeat(picture[..., 1:2], 3, axis=2)
        chain = (
            "setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr,"
            f"zscale=tin=bt709:pin=bt709:min=gbr:rin=pc:p=2020:t={transfer}:m=2020_ncl:r=tv:npl=203,format=yuv444p12le"
        )
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "192x144", "-i", "-"]
        command = ["ffmpeg", "-v", "error", *raw, "-vf", chain, "-c:v", "ffv1", str(path)]
        subprocess.run(command, input=shown.tobytes() * 6, check=True)
        made[name] = shown, Source(path.name, path)
    return made


@pytest.mark.parametrize("name", ["pq", "hlg"])
def test_hdr_made_by_zscale_comes_back(name: str, zscaled: dict[str, tuple[NDArray[np.uint8], Source]]) -> None:
    picture, source = zscaled[name]
    found = survey(source, maps_hdr=True)
    assert found.colours == f"BT.2020, limited range, {name.upper()} mapped to SDR, brightest 203 cd/m²"
    assert found.hdr_peak is not None
    _, shown = next(read_frames(source, {0}, 0, found.hdr_peak))
    difference = shown.astype(float) - picture
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.3
    assert np.abs(difference).mean() < 1
    with pytest.raises(DamagedVideoError, match=f"HDR with the transfer function {name.upper()}"):
        survey(source)


def test_taken_as_it_is_the_same_video_would_be_far_off(
    zscaled: dict[str, tuple[NDArray[np.uint8], Source]],
) -> None:
    picture, source = zscaled["pq"]
    with av.open(str(source.path)) as container:
        plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(plain.astype(float) - picture).mean() > 15
    assert math.isfinite(float(plain.mean()))

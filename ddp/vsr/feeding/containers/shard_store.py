"""PNG files in tar shards as WebDataset reads them: `NAME.gt.png` and `NAME.lr.png`, in any number of `*.tar` files.

The headers are read once, and any file is one read from then on. So the order is that of the positions, as everywhere,
and not that of the shards. Compressed shards have no place to read from, and are named.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ddp.vsr.feeding.containers.store import ContentStore, Kind
from ddp.vsr.unreadable import Skipped, UnreadableFileError, reason_of
from service.atomic_files import open_ordinary

SUFFIX = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
ENDS: dict[Kind, str] = {"GT": ".gt.png", "LR": ".lr.png"}


@dataclass(frozen=True, slots=True)
class _Place:
    shard: Path
    first: int
    count: int


class ShardStore(ContentStore):
    """Files in all `*.tar` of a folder; the first of a name counts."""

    def __init__(self, folder: Path) -> None:
        """Read the headers of all shards. Raises `OSError` if the folder cannot be read."""
        self.skipped: list[Skipped] = []
        self._places: dict[Kind, dict[str, _Place]] = {"GT": {}, "LR": {}}
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.name.endswith(COMPRESSED):
                self.skipped.append(Skipped(path.name, "it is compressed, so no sample can be read alone: unpack it"))
            elif path.suffix == SUFFIX:
                self._add(path)

    def names(self, kind: Kind) -> set[str]:
        """Return the names of all files of a kind, with `.png`."""
        return set(self._places[kind])

    def part(self, kind: Kind, name: str, first: int, count: int | None) -> bytes:
        """Return bytes of a file. Raises `UnreadableFileError`."""
        place = self._places[kind][name]
        wanted = min(place.count - first, place.count if count is None else count)
        try:
            with open_ordinary(place.shard) as file:
                content = os.pread(file.fileno(), wanted, place.first + first)
        except OSError as error:
            raise UnreadableFileError(reason_of(error)) from error
        if len(content) < wanted:
            raise UnreadableFileError(f"{place.shard.name} is shorter than it was")
        return content

    def size_in_bytes(self, kind: Kind, name: str) -> int:
        """Return the size of a file."""
        return self._places[kind][name].count

    def _add(self, path: Path) -> None:
        try:
            with open_ordinary(path) as file:
                size = os.fstat(file.fileno()).st_size
                for kind, name, place in _places_in(path, file, size):
                    if name in self._places[kind]:
                        self.skipped.append(Skipped(f"{path.name}, {name}", "an earlier shard holds this name"))
                    else:
                        self._places[kind][name] = place
        except (OSError, tarfile.TarError, EOFError, ValueError) as error:
            self.skipped.append(Skipped(path.name, f"used up to a damage ({reason_of(error)})"))


def _places_in(path: Path, file: object, size: int) -> Iterator[tuple[Kind, str, _Place]]:
    """Yield kind, name and place of every picture of a shard. Raises `tarfile.TarError` and `OSError` at a damage."""
    with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]  # any binary file
        for member in archive:
            archive.members.clear()  # which it would keep for ever
            kind = next((kind for kind, end in ENDS.items() if member.name.lower().endswith(end)), None)
            if kind is None or not member.isreg():
                continue
            if member.offset_data + member.size > size:
                raise tarfile.ReadError("it is cut off")
            name = Path(member.name).name[: -len(ENDS[kind])] + ".png"
            yield kind, name, _Place(path, member.offset_data, member.size)

"""What pages load: files under addresses that change with their content, and pages that name these addresses.

A page is asked for anew each time, and answered with 304 while it is the same. The files below `/static/v-<hash>/`
never change, so a browser keeps them for a year; scripts import each other relatively, so with the same hash. A page
names all of these scripts, or a browser would ask for one after the other.
"""

import hashlib
import mimetypes
import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import NotFound

from api.http.compression import accepts_gzip, gzipped, is_compressible
from api.http.conditional import Representation, respond
from api.http.operation import Answer

PAGE_UNCHANGED = Answer(media_type="", description="the page has not changed", status=304)
FOREVER = "public, max-age=31536000, immutable"
_VERSION = re.compile("v-[0-9a-f]{12}")
_ADDRESS = re.compile(r'(?<=(?:href|.src)=")((?:\.\.?/)+static/)')
_MODULE = re.compile(r'<script type="module" src="((?:\.\.?/)+static/)([^"]+)"')
_IMPORT = re.compile(r'^import [^;"]*"(\.\.?/[^"]+)"', re.MULTILINE)
_KEY = "leitstand static files"

Stamps = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class StaticFile:
    """One file, as it is and compressed."""

    content: bytes
    media_type: str

    @cached_property
    def plain(self) -> Representation:
        """The file as it is."""
        return _representation(self.content, self.media_type, {})

    @cached_property
    def compressed(self) -> Representation:
        """The file compressed with gzip; as it is, where that gains nothing."""
        small = gzipped(self.content, 9) if is_compressible(self.media_type) else self.content
        if len(small) >= len(self.content):
            return self.plain
        return _representation(small, self.media_type, {"Content-Encoding": "gzip"})


@dataclass(frozen=True)
class StaticFiles:
    """All files of a folder by their paths in it, and a version that changes with any of them."""

    files: dict[str, StaticFile]
    version: str

    @classmethod
    def read(cls, folder: Path) -> "StaticFiles":
        """Read the folder; raises `OSError`."""
        files, digest = {}, hashlib.sha256()
        for name, *_ in _stamps(folder):
            content = (folder / name).read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
            files[name] = StaticFile(content, mimetypes.guess_type(name)[0] or "application/octet-stream")
        return cls(files, f"v-{digest.hexdigest()[:12]}")

    def imported_by(self, script: str) -> list[str]:
        """Return the paths of all scripts that one imports, directly or through others."""
        found = [script] if script in self.files else []
        for name in found:
            for address in _IMPORT.findall(self.files[name].content.decode()):
                path = posixpath.normpath(posixpath.join(posixpath.dirname(name), address))
                if path in self.files and path not in found:
                    found.append(path)
        return found[1:]


class StaticFolder:
    """The folder's files as they are now: a page of a changed folder has the addresses of the changed files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: tuple[Stamps, StaticFiles] | None = None

    def current(self) -> StaticFiles:
        """Return all files, read again if one has changed."""
        stamps = _stamps(self._folder)
        known = self._read
        if known is None or known[0] != stamps:
            self._read = known = (stamps, StaticFiles.read(self._folder))
        return known[1]

    def of_version(self, version: str) -> StaticFiles:
        """Return the files without a look at the folder if they are those of `version`, otherwise the current ones."""
        known = self._read
        return known[1] if known is not None and known[1].version == version else self.current()


def register(app: Flask, folder: Path) -> None:
    """Serve the files of a folder at `/static/…`."""
    app.extensions[_KEY] = StaticFolder(folder)
    app.add_url_rule("/static/<path:filename>", "static", _serve)


def page(html: str) -> Response:
    """Return the response with a page, whose links to files get the addresses that browsers keep."""
    files = _folder().current()
    versioned = _ADDRESS.sub(rf"\g<1>{files.version}/", html.replace("</head>", f"{_preloads(html, files)}</head>"))
    response = Response(versioned, mimetype="text/html")
    return revalidated(response)


def _preloads(html: str, files: StaticFiles) -> str:
    """Return links to the scripts that a page's script imports, for its head."""
    match = _MODULE.search(html)
    names = [] if match is None else files.imported_by(match[2])
    return "".join(f'  <link rel="modulepreload" href="{match[1]}{name}">\n' for name in names if match is not None)


def revalidated(response: Response) -> Response:
    """Let clients cache the response but revalidate it: an update of the server changes it."""
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def _serve(filename: str) -> Response:
    version, _, name = filename.partition("/")
    is_versioned = _VERSION.fullmatch(version) is not None
    files = _folder().of_version(version)
    file = files.files.get(name if is_versioned else filename)
    if file is None:
        raise NotFound
    response = respond(file.compressed if accepts_gzip() else file.plain)
    # A page of before an update asks for a version that is no more: what it gets instead must not be kept.
    response.headers["Cache-Control"] = FOREVER if version == files.version else "no-cache"
    if is_compressible(file.media_type):
        response.vary.add("Accept-Encoding")
    return response


def _folder() -> StaticFolder:
    folder = current_app.extensions[_KEY]
    assert isinstance(folder, StaticFolder)
    return folder


def _stamps(folder: Path) -> Stamps:
    """Return path, modification time (ns) and size (bytes) of every file in a folder, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    statuses = ((path.relative_to(folder).as_posix(), path.stat()) for path in paths)
    return tuple((name, status.st_mtime_ns, status.st_size) for name, status in statuses)


def _representation(content: bytes, media_type: str, headers: dict[str, str]) -> Representation:
    return Representation(content, media_type, hashlib.sha256(content).hexdigest(), headers=headers)

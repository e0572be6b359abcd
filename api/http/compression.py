"""Compression of answers with gzip, for clients that accept it: JSON, pages and other text from some size on.

Never of parts of an answer, nor of saved files, which are sent byte for byte. Each piece of an event stream can be read
as soon as it has arrived; a state repeats most of the one before, so little is left of it. An answer that is compressed
is another representation, so its ETag is another: with `-gzip` at its end, which is taken off again where a client
sends it.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator

from flask import Flask, Response, g, request

MIN_BYTES = 1400
"""What fits into one packet is sent no faster if it is smaller, and costs time to compress."""
LEVEL = 4
"""Higher levels take twice the time of this one, for a few percent."""
FAST_LEVEL = 1
"""Takes half the time of `LEVEL`; of columns of numbers, which hardly become smaller, it leaves 3 % more."""
SUFFIX = "-gzip"
_GZIP_WINDOW = 31
_STREAM_WINDOW, _STREAM_MEMORY = 16 + 14, 6
"""16 KiB, several states; a stream takes 96 KiB of memory."""
_TYPES = frozenset(
    {"application/json", "application/problem+json", "application/schema+json", "text/html", "text/css", "text/plain",
     "text/javascript", "application/javascript", "image/svg+xml"}
)  # fmt: skip


def register(app: Flask) -> None:
    """Compress the answers of `app`; to be called first, since it must see what all others have made of an answer."""
    app.before_request(_accept_own_tags)
    app.after_request(_compress)


def is_compressible(media_type: str | None) -> bool:
    """Return whether content of this type becomes smaller."""
    return media_type in _TYPES


def accepts_gzip() -> bool:
    """Whether the current request's client takes gzip, and would not rather have the answer as it is."""
    accepted = request.accept_encodings
    wanted = accepted.quality("gzip") if accepted else 0
    return wanted > 0 and wanted >= max((quality for name, quality in accepted if name == "identity"), default=0)


def compress_fast() -> None:
    """Let the answer to the current request be compressed in less time, because it is long and has mostly digits."""
    g.gzip_level = FAST_LEVEL


def gzipped(content: bytes, level: int = LEVEL) -> bytes:
    """Compress; equal content gives equal bytes."""
    return zlib.compress(content, level, _GZIP_WINDOW)


def gzipped_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress a stream piece by piece; each can be decompressed without the next."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _STREAM_WINDOW, _STREAM_MEMORY)
    for piece in pieces:
        yield compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()


def _accept_own_tags() -> None:
    """Take the ending off the ETags that compressed answers had; not of If-Range, whose bytes would be others."""
    for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
        if SUFFIX in (given := request.environ.get(name, "")):
            request.environ[name] = given.replace(f'{SUFFIX}"', '"')
            g.has_compressed = True


def _compress(response: Response) -> Response:
    if response.status_code == 304 and g.get("has_compressed"):
        _mark_tag(response)
    if not _may_compress(response):
        return response
    response.vary.add("Accept-Encoding")
    if accepts_gzip():
        content = gzipped(response.get_data(), g.get("gzip_level", LEVEL))
        response.set_data(content)
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("Accept-Ranges", None)
        if "Repr-Digest" in response.headers:
            digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
            response.headers["Repr-Digest"] = f"sha-256=:{digest}:"
        _mark_tag(response)
    return response


def _may_compress(response: Response) -> bool:
    """Whether the answer is a whole text of some size, and no saved file."""
    return (
        not response.is_streamed
        and response.status_code not in {204, 206, 304}
        and is_compressible(response.mimetype)
        and not {"Content-Encoding", "Content-Disposition", "Content-Range"} & set(response.headers.keys())
        and len(response.get_data()) >= MIN_BYTES
    )


def _mark_tag(response: Response) -> None:
    tag, is_weak = response.get_etag()
    if tag is not None and not tag.endswith(SUFFIX):
        response.set_etag(tag + SUFFIX, bool(is_weak))

"""Bearer tokens of the API: a file of their hashes, made and revoked by `leitstand token`, read by the server.

The file (API_TOKENS) is JSON and never holds a token, only its sha256. That is enough here: a token is 256 random
bits, so nobody finds it by trying, and a slow, salted hash as passwords need would only cost every request time.
"""

import fcntl
import hashlib
import hmac
import json
import logging
import math
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.atomic_files import write_atomically
from service.config.settings import RunConfig
from service.errors import UserError

PREFIX = "lst_"
"""How every token begins, so that one in a log or a repository is recognised for what it is."""
TOKEN_BYTES = 32
CHOSEN = "API_TOKEN"
"""The name of the token that people choose themselves, by this setting."""
VERSION = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESERVED = {CHOSEN.lower(), "anonymous"}

logger = logging.getLogger(__name__)

Stamp = tuple[int, ...]


class TokenFileError(UserError):
    """The file of tokens is missing, damaged, or others could have written it."""


class TokenScope(StrEnum):
    """What a token allows."""

    READ = "read"
    CONTROL = "control"
    """Commands and settings too."""


@dataclass(frozen=True)
class Token:
    """What is known of a token: everything but the token itself. Times are Unix seconds."""

    name: str
    scope: TokenScope
    sha256: str
    created_at: float
    expires_at: float | None = None

    def has_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


def file_of(config: RunConfig) -> Path | None:
    """The file of tokens that API_TOKENS names, or None."""
    return Path(config.api_tokens).expanduser() if config.api_tokens else None


def create_token(path: Path, name: str, scope: TokenScope, *, lifetime_seconds: float | None = None) -> str:
    """Add a token to the file, which is made if need be; returns the token, which nothing else will ever show.

    Raises `TokenFileError` for a file that cannot be used, `UserError` for a name that is taken or not allowed.
    """
    if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
        raise UserError(
            f"The token's name is {name!r}, but must be at most 64 letters, digits, '.', '_' or '-', "
            f"and neither {CHOSEN} nor anonymous."
        )
    now, text = time.time(), PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    expires_at = None if lifetime_seconds is None else now + lifetime_seconds
    with _alone(path):
        tokens = read_tokens(path) if path.exists() else ()
        if any(token.name.lower() == name.lower() for token in tokens):
            raise UserError(f"There is a token {name!r} already: choose another name, or revoke that one first.")
        _write(path, [*tokens, Token(name, scope, digest_of(text.encode()), now, expires_at)])
    return text


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of the file; a server that runs refuses it from its next request on.

    Raises `TokenFileError` for a file that cannot be used, `UserError` when it holds no token of this name.
    """
    with _alone(path):
        tokens = read_tokens(path)
        kept = [token for token in tokens if token.name != name]
        if len(kept) == len(tokens):
            known = ", ".join(token.name for token in tokens) or "none"
            raise UserError(f"{path} holds no token {name!r}; it holds: {known}.")
        _write(path, kept)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """All tokens of the file, in the order in which they were made; raises `TokenFileError`."""
    return _read(path)[1]


def digest_of(text: bytes) -> str:
    """The sha256 in hexadecimal by which a token is known."""
    return hashlib.sha256(text).hexdigest()


class TokenReader:
    """The tokens that a server knows: the chosen one, and those of a file that is read anew whenever it changes.

    While the file cannot be used, none of its tokens is known. Safe to use from several threads.
    """

    def __init__(self, chosen: str = "", path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """`chosen` is API_TOKEN, `path` the file; without both, no request needs a token."""
        self._path = path
        self._clock = clock
        self._chosen = Token(CHOSEN, TokenScope.CONTROL, digest_of(chosen.encode()), 0.0) if chosen else None
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._filed: tuple[Token, ...] | TokenFileError = ()

    @property
    def is_needed(self) -> bool:
        """Whether requests must bear a token at all."""
        return self._chosen is not None or self._path is not None

    def find(self, given: bytes, *, with_chosen: bool = True) -> Token | None:
        """The token that was given, or None when it is unknown or has expired.

        Raises `TokenFileError` when it is not the chosen one and the file cannot be used.
        """
        digest, filed = digest_of(given), self._tokens()
        known = filed if isinstance(filed, tuple) else ()
        if with_chosen and self._chosen is not None:
            known = (*known, self._chosen)
        found = None
        for token in known:  # to the end, whichever it is: the time taken tells nothing
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is None and isinstance(filed, TokenFileError):
            raise filed
        return None if found is None or found.has_expired(self._clock()) else found

    def _tokens(self) -> tuple[Token, ...] | TokenFileError:
        if self._path is None:
            return ()
        with self._lock:
            stamp = _stamp(self._path)
            if stamp is None or stamp != self._stamp:
                self._stamp, self._filed = self._reread(self._path, stamp)
            return self._filed

    def _reread(self, path: Path, stamp: Stamp | None) -> tuple[Stamp | None, tuple[Token, ...] | TokenFileError]:
        try:
            return _read(path)
        except TokenFileError as error:
            if str(error) != str(self._filed):  # a file that stays away is said once
                logger.error("No token of the file is accepted: %s", error)  # noqa: TRY400  # a person's matter
            return stamp, error


def _read(path: Path) -> tuple[Stamp, tuple[Token, ...]]:
    """Stamp and tokens of one and the same file, even while it is being replaced."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        raise TokenFileError(
            f"There is no file {path} (API_TOKENS): make a token with `leitstand token create`."
        ) from None
    except OSError as error:
        raise TokenFileError(f"The file of tokens {path} cannot be read: {error.strerror}.") from None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TokenFileError(f"Others may write the file of tokens {path}: revoke what you did not make; chmod 600 it.")
    try:
        return _stamp_of(status), _decode(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TokenFileError(
            f"The file of tokens {path} is damaged ({error}): restore it, or delete it and make new tokens."
        ) from None


def _decode(content: bytes) -> tuple[Token, ...]:
    """The tokens in a file's content; raises one of several errors when it is anything else."""
    document = json.loads(content)
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r}, but only {VERSION} is known")
    tokens = tuple(_token(entry) for entry in document["tokens"])
    if len({token.name.lower() for token in tokens}) < len(tokens):
        raise ValueError("a name occurs twice")
    return tokens


def _token(entry: dict[str, Any]) -> Token:
    token = Token(**{**entry, "scope": TokenScope(entry["scope"])})
    if not _NAME.fullmatch(token.name) or token.name.lower() in _RESERVED:
        raise ValueError(f"name {token.name!r}")
    if not _SHA256.fullmatch(token.sha256):
        raise ValueError(f"sha256 of {token.name}")
    for moment in (token.created_at, token.expires_at or 0.0):
        if isinstance(moment, bool) or not math.isfinite(moment):
            raise ValueError(f"times of {token.name}")
    return token


def _write(path: Path, tokens: Sequence[Token]) -> None:
    """Replace the file as a whole, readable by its owner only from its first moment on."""
    content = json.dumps({"version": VERSION, "tokens": [asdict(token) for token in tokens]}, indent=2) + "\n"
    try:
        write_atomically(path, content.encode(), mode=0o600)
    except OSError as error:
        raise TokenFileError(f"The file of tokens {path} cannot be written: {error.strerror}.") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two changes at once must not lose one: whoever changes a file locks its folder."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise TokenFileError(f"The folder of {path} cannot be used: {error.strerror}; make it first.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stamp(path: Path) -> Stamp | None:
    try:
        return _stamp_of(path.stat())
    except OSError:
        return None


def _stamp_of(status: os.stat_result) -> Stamp:
    """What differs between two states of a file; the time of change counts permissions in."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

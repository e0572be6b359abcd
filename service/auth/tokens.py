"""Bearer tokens of the API: a file of their hashes, written by `leitstand token` and read by the server.

The JSON file (API_TOKENS) never contains a token, only its sha256. A fast hash is enough: a token has 256 random bits,
so it cannot be found by trial, and a slow, salted hash as for passwords would only delay every request.
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
from service.errors import UserError, plain_reason

PREFIX = "lst_"
"""Prefix of every token, by which secret scanners recognise a token in a log or a repository."""
TOKEN_BYTES = 32
CONFIGURED = "API_TOKEN"
"""Name of the token that is set by this setting."""
VERSION = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESERVED = {CONFIGURED.lower(), "anonymous"}

logger = logging.getLogger(__name__)

Stamp = tuple[int, ...]


class TokenFileError(UserError):
    """A token file that is missing, damaged, or writable by other users."""


class TokenScope(StrEnum):
    """The requests that a token allows."""

    READ = "read"
    CONTROL = "control"
    """Also allows commands and changes of settings."""


@dataclass(frozen=True)
class Token:
    """An entry of the token file: everything but the token itself. Times are Unix seconds."""

    name: str
    scope: TokenScope
    sha256: str
    created_at: float
    expires_at: float | None = None

    def has_expired(self, now: float) -> bool:
        """Return True if the token has expired at the Unix time `now`."""
        return self.expires_at is not None and now >= self.expires_at


def token_file_path(config: RunConfig) -> Path | None:
    """Return the path in API_TOKENS, or None if it is empty."""
    return Path(config.api_tokens).expanduser() if config.api_tokens else None


def create_token(path: Path, name: str, scope: TokenScope, *, lifetime_seconds: float | None = None) -> str:
    """Add a token to the file, which is created if missing; returns the token, which is stored nowhere.

    The token expires after `lifetime_seconds`, or never. Raises `TokenFileError` if the file cannot be used, and
    `UserError` if the name is taken or invalid.
    """
    if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
        raise UserError(
            f"The token's name is {name!r}, but must be at most 64 letters, digits, '.', '_' or '-', "
            f"and neither {CONFIGURED} nor anonymous."
        )
    now, text = time.time(), PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    expires_at = None if lifetime_seconds is None else now + lifetime_seconds
    with _locked_folder(path):
        tokens = read_tokens(path) if path.exists() else ()
        if any(token.name.lower() == name.lower() for token in tokens):
            raise UserError(f"There is a token {name!r} already: choose another name, or revoke that one first.")
        _write(path, [*tokens, Token(name, scope, token_digest(text.encode()), now, expires_at)])
    return text


def revoke_token(path: Path, name: str) -> None:
    """Remove a token from the file; a running server refuses it from the next request on.

    Raises `TokenFileError` if the file cannot be used, and `UserError` if it has no token of this name.
    """
    with _locked_folder(path):
        tokens = read_tokens(path)
        kept = [token for token in tokens if token.name != name]
        if len(kept) == len(tokens):
            known = ", ".join(token.name for token in tokens) or "none"
            raise UserError(f"{path} holds no token {name!r}; it holds: {known}.")
        _write(path, kept)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return all tokens of the file in order of creation; raises `TokenFileError`."""
    return _read(path)[1]


def token_digest(text: bytes) -> str:
    """Return the hexadecimal sha256 that identifies a token."""
    return hashlib.sha256(text).hexdigest()


class TokenReader:
    """The tokens that a server accepts: the one in API_TOKEN, and those of a file, which is reread after a change.

    While the file cannot be used, none of its tokens is accepted. Safe to use from several threads.
    """

    def __init__(self, configured: str = "", path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """Use the token `configured` (API_TOKEN) and the file at `path`; without both, no request needs a token.

        `clock` returns Unix seconds.
        """
        self._path = path
        self._clock = clock
        self._configured = (
            Token(CONFIGURED, TokenScope.CONTROL, token_digest(configured.encode()), 0.0) if configured else None
        )
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._file_tokens: tuple[Token, ...] | TokenFileError = ()

    @property
    def is_required(self) -> bool:
        """True if requests must have a token."""
        return self._configured is not None or self._path is not None

    def find(self, text: bytes, *, include_configured: bool = True) -> Token | None:
        """Return the entry of the token `text`, or None if it is unknown or has expired.

        Raises `TokenFileError` if the file cannot be used and `text` is not the configured token.
        """
        digest, file_tokens = token_digest(text), self._read_file_tokens()
        known = file_tokens if isinstance(file_tokens, tuple) else ()
        if include_configured and self._configured is not None:
            known = (*known, self._configured)
        found = None
        for token in known:  # no early exit: the duration must not reveal which token matches
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is None and isinstance(file_tokens, TokenFileError):
            raise file_tokens
        return None if found is None or found.has_expired(self._clock()) else found

    def _read_file_tokens(self) -> tuple[Token, ...] | TokenFileError:
        if self._path is None:
            return ()
        with self._lock:
            stamp = _stamp(self._path)
            if stamp is None or stamp != self._stamp:
                self._stamp, self._file_tokens = self._reread(self._path, stamp)
            return self._file_tokens

    def _reread(self, path: Path, stamp: Stamp | None) -> tuple[Stamp | None, tuple[Token, ...] | TokenFileError]:
        try:
            return _read(path)
        except TokenFileError as error:
            if str(error) != str(self._file_tokens):  # a lasting problem is logged once
                logger.error("No token of the file is accepted: %s", error)  # noqa: TRY400  # an error of the user
            return stamp, error


def _read(path: Path) -> tuple[Stamp, tuple[Token, ...]]:
    """Return stamp and tokens of the same version of the file, even while it is being replaced."""
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
            f"The file of tokens {path} is damaged ({plain_reason(error)}): restore it, or delete it and make new ones."
        ) from None


def _decode(content: bytes) -> tuple[Token, ...]:
    """Return the tokens in a file's content; raises `ValueError`, `TypeError`, `KeyError` or `AttributeError`."""
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
    for time_value in (token.created_at, token.expires_at or 0.0):
        if isinstance(time_value, bool) or not math.isfinite(time_value):
            raise ValueError(f"times of {token.name}")
    return token


def _write(path: Path, tokens: Sequence[Token]) -> None:
    """Replace the file atomically; the new file is readable only by its owner from its creation on."""
    content = json.dumps({"version": VERSION, "tokens": [asdict(token) for token in tokens]}, indent=2) + "\n"
    try:
        write_atomically(path, content.encode(), mode=0o600)
    except OSError as error:
        raise TokenFileError(f"The file of tokens {path} cannot be written: {error.strerror}.") from None


@contextmanager
def _locked_folder(path: Path) -> Iterator[None]:
    """Lock the folder of the file, so that concurrent changes do not overwrite each other."""
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
    """Return values that differ between two versions of a file; ctime also changes with its permissions."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

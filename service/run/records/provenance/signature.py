"""Signatures of checkpoints and exported networks, as the OpenSSF model signing specification describes them.

With a key of the user's own (elliptic curve, PEM), so that neither a network nor an account is needed. The library is
an optional extra.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from service.errors import UserError, plain_reason, printable
from service.run.directory import RunDirectory
from service.run.records.keeping.checkpoint_check import MANIFEST_FILE, checkpoint_folders

SIGNATURES = "signatures"
"""Folder in a run directory for the signatures of its checkpoints, which is no part of what they sign."""
SUFFIX = ".sig"
INSTALL = 'pip install "leitstand[sign]"'
_UNUSABLE = (OSError, ValueError, TypeError, LookupError, AttributeError)
"""What the library raises for keys and signatures that are damaged or of another kind: it checks few of their parts."""


class SignatureError(UserError):
    """What was signed and what is there are not the same, or the signature is by another key."""

    exit_code = 1


def target_of(path: Path) -> Path:
    """Return what is signed: of a run directory its best checkpoint, else the newest; anything else is itself.

    Raises `UserError` if there is nothing.
    """
    path = path.resolve()
    if not path.is_dir() or (path / MANIFEST_FILE).is_file():
        return path
    try:
        folders = checkpoint_folders(path)
        best = RunDirectory(path).checkpoints / "best"
        found = best.resolve() if best.is_dir() else folders[-1] if folders else None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({plain_reason(error)}); mend that.") from None
    if found is None:
        raise UserError(f"{path} holds no checkpoint; name a run directory, a checkpoint, or an exported file.")
    return found


def default_signature(target: Path) -> Path:
    """Return where the signature of a target lies: beside a file, and of a checkpoint in its run directory."""
    if (target / MANIFEST_FILE).is_file():
        return target.parent.parent / SIGNATURES / f"{target.name}{SUFFIX}"
    return target.with_name(f"{target.name}{SUFFIX}")


def sign(target: Path, signature: Path, key: Path, password: bytes | None) -> None:
    """Sign a file, or all files of a folder, with a private key. Raises `UserError`.

    `password` is in bytes: model-signing 1.1.1 declares a text, but hands it to a function that takes bytes alone.
    """
    signing = _library("signing")
    signature.parent.mkdir(exist_ok=True)
    signer = signing.Config()
    _explained(f"The key {key}", lambda: signer.use_elliptic_key_signer(private_key=key, password=password))
    _explained(str(target), lambda: signer.sign(target, signature))


def check(target: Path, signature: Path, key: Path) -> None:
    """Check a signature with the public key; raises `SignatureError` if it is not of this target by that key."""
    verifying = _library("verifying")
    if not signature.is_file():
        raise UserError(f"There is no signature {signature}; name it with --signature, or sign {target.name} first.")
    verifier = verifying.Config()
    _explained(f"The key {key}", lambda: verifier.use_elliptic_key_verifier(public_key=key))
    try:
        verifier.verify(target, signature)
    except (*_UNUSABLE, import_module("cryptography.exceptions").InvalidSignature) as error:
        raise SignatureError(
            f"{target} is not what was signed with this key ({_reason(error)}); do not use it unless you know why."
        ) from None


def _explained(what: str, work: Callable[[], object]) -> None:
    try:
        work()
    except _UNUSABLE as error:
        raise UserError(f"{what} cannot be used for a signature ({_reason(error)}); put that right.") from None


def _reason(error: BaseException) -> str:
    text = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
    return text[:200]


def _library(name: str) -> Any:
    try:
        return import_module(f"model_signing.{name}")
    except ImportError as error:
        raise UserError(f"Signing needs packages that are not installed ({error.name}): {INSTALL}.") from None

"""`leitstand signature`: checkpoints and exported networks signed with a key of one's own, and checked."""

from pathlib import Path

import click

from service.cli.stats.tables import explained_write_errors
from service.cli.text_table import show_line
from service.errors import UserError, plain_reason
from service.run.records.provenance.signature import check, default_signature, sign, target_of

_PATH = click.argument("path", metavar="PATH", type=click.Path(path_type=Path, exists=True))
_SIGNATURE = click.option(
    "--signature", type=click.Path(path_type=Path), metavar="FILE",
    help="The signature; by default PATH.sig, and of a checkpoint signatures/<name>.sig in the run directory.",
)  # fmt: skip


@click.group
def signature() -> None:
    """Sign what a training made, and check it."""


@signature.command("make")
@_PATH
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Private key (PEM).")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="FILE", help="File with the key's password.")
@_SIGNATURE
def make_signature(path: Path, key: Path, password_file: Path | None, signature: Path | None) -> None:
    """Sign a checkpoint or an exported file.

    PATH is a run directory, of which the best checkpoint is signed, or the newest; or a checkpoint, or a file.
    """
    target = target_of(path)
    file = signature or default_signature(target)
    with explained_write_errors(file):
        sign(target, file, key, _password(password_file))
    show_line(f"{target} is signed: {file}")


@signature.command("check")
@_PATH
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Public key (PEM).")
@_SIGNATURE
def check_signature(path: Path, key: Path, signature: Path | None) -> None:
    """Check that a checkpoint or a file is what was signed.

    PATH as for `make`. The exit code is 1 if it is not, or was signed with another key.
    """
    target = target_of(path)
    file = signature or default_signature(target)
    check(target, file, key)
    show_line(f"{target} is what was signed with this key: {file}")


def _password(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({plain_reason(error)}); put its path right.") from None

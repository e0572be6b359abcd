"""A self-signed certificate of this machine, made by openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    not shutil.which("openssl"), reason="openssl, which makes the certificate, is missing"
)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 and its key into a folder; returns both files."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=box", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", "key.pem", "-out", "box.pem",
        ],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "box.pem", folder / "key.pem"

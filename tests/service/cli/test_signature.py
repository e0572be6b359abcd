"""`leitstand signature`: what a training made, signed with a key of one's own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli import exit_code
from service.run.directory import RunDirectory
from tests.service.harness.checkpoints import save_checkpoint
from tests.service.harness.saved_records import save_record

OPENSSL = shutil.which("openssl")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = RunDirectory(tmp_path / "run")
    for step in (500, 1000):
        save_checkpoint(directory, step)
        save_record(directory.root, step)
    (directory.checkpoints / "best").symlink_to("step_0000500")
    (directory.root / "net.safetensors").write_bytes(b"weights")
    return directory.root


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Make a private key and its public key."""
    pytest.importorskip("model_signing.signing", reason="the extra `sign` is not installed", exc_type=ImportError)
    if OPENSSL is None:
        pytest.skip("openssl is not installed")

    def make(name: str) -> tuple[Path, Path]:
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        command = [OPENSSL, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
        subprocess.run(command, check=True)
        subprocess.run([OPENSSL, "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
        return private, public

    return make


@pytest.mark.parametrize(
    ("what", "file"), [("", "signatures/step_0000500.sig"), ("net.safetensors", "net.safetensors.sig")]
)
def test_the_best_state_and_an_exported_file_are_signed_and_checked(
    run: Path, make_key: Callable[[str], tuple[Path, Path]], what: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = make_key("own")
    path = str(run / what)
    assert exit_code(["signature", "check", path, "--key", str(public)]) == 2
    assert "There is no signature" in capsys.readouterr().err

    assert exit_code(["signature", "make", path, "--key", str(private)]) == 0
    assert (run / file).exists()
    assert exit_code(["signature", "check", path, "--key", str(public)]) == 0
    assert "is what was signed with this key" in capsys.readouterr().out
    assert exit_code(["stats", "verify", str(run)]) == 0  # a signature is no checkpoint

    _, other = make_key("other")
    assert exit_code(["signature", "check", path, "--key", str(other)]) == 1
    changed = run / (what or "checkpoints/step_0000500/state.pt")
    changed.write_bytes(b"other weights")
    assert exit_code(["signature", "check", path, "--key", str(public)]) == 1
    assert "is not what was signed" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "\0", "{}", "[]"])
def test_a_damaged_signature_is_none(
    run: Path, make_key: Callable[[str], tuple[Path, Path]], content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "net.safetensors.sig").write_text(content)
    assert exit_code(["signature", "check", str(run / "net.safetensors"), "--key", str(make_key("own")[1])]) == 1
    assert "is not what was signed with this key" in capsys.readouterr().err


def test_a_key_with_a_password_needs_it(
    run: Path, make_key: Callable[[str], tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = make_key("own")
    locked, password = tmp_path / "locked.pem", tmp_path / "password"
    command = [str(OPENSSL), "ec", "-aes256", "-passout", "pass:open", "-in", str(private), "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    make = ["signature", "make", str(run), "--key", str(locked)]
    assert exit_code(make) == 2
    assert "locked.pem cannot be used for a signature" in capsys.readouterr().err

    password.write_text("open\n")
    assert exit_code([*make, "--password-file", str(password)]) == 0
    assert exit_code(["signature", "check", str(run), "--key", str(public)]) == 0


def test_a_key_that_cannot_be_used_is_one_sentence(
    run: Path, make_key: Callable[[str], tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    for key in ("bad.pem", "none.pem"):
        assert exit_code(["signature", "make", str(run), "--key", str(tmp_path / key)]) == 2
        assert f"{key} cannot be used for a signature" in capsys.readouterr().err


def test_without_the_packages_one_sentence_says_how_to_install_them(run: Path, tmp_path: Path) -> None:
    (tmp_path / "model_signing.py").write_text("raise ImportError('no', name='OpenSSL')")
    program = f"from service.cli import main; main(['signature', 'make', {str(run)!r}, '--key', 'k.pem'])"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        'Error: Signing needs packages that are not installed (OpenSSL): pip install "leitstand[sign]".\n'
    )


def test_a_folder_without_anything_to_sign_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["signature", "make", str(tmp_path), "--key", "k.pem"]) == 2
    assert "holds no checkpoint; name a run directory, a checkpoint, or an exported file" in capsys.readouterr().err

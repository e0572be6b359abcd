"""The wheel: it holds what the programs need, so that no repository has to lie beside it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from service import __version__

PACKAGES = ("api", "ddp", "service")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from a copy of the tracked files, so that nothing is built inside the repository."""
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, copy)
    for package in PACKAGES:
        shutil.copytree(repository / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(copy)]
    subprocess.run(command, check=True, timeout=300)
    (made,) = target.iterdir()
    return made


def test_it_holds_every_file_of_the_packages(wheel: Path, repository: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {
        str(path.relative_to(repository))
        for package in PACKAGES
        for path in (repository / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert held == files


def test_the_demonstration_starts_from_it_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import sys, service.cli; print(service.cli.__file__); sys.exit(service.cli.main())"
    (tmp_path / "there").mkdir()
    said = subprocess.run(
        [sys.executable, "-P", "-c", code, "up", "--demo", "--set", "BATCH_SIZE=0"],
        cwd=tmp_path / "there", env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert said.stdout.startswith(str(tmp_path / "site"))
    assert (said.returncode, "BATCH_SIZE" in said.stderr) == (2, True), "its settings were read and checked"


def test_a_picture_is_upscaled_from_it_without_any_run(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "there").mkdir()
    Image.new("RGB", (24, 16), "teal").save(tmp_path / "there" / "small.png")
    code = "import sys, service.cli; sys.exit(service.cli.main())"
    said = subprocess.run(
        [sys.executable, "-P", "-c", code, "upscale", "small.png", "large.png"],
        cwd=tmp_path / "there", env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (said.returncode, said.stderr) == (0, "")
    assert "shipped weights" in said.stdout
    with Image.open(tmp_path / "there" / "large.png") as large:
        assert large.size == (72, 48)


def test_the_version_stands_in_one_place(wheel: Path, repository: Path) -> None:
    tags = re.findall(r"image: leitstand-\w+:(\S+)", (repository / "docker-compose.yml").read_text())

    assert wheel.name == f"leitstand-{__version__}-py3-none-any.whl"
    assert set(tags) == {__version__}
    assert f"## {__version__} " in (repository / "CHANGELOG.md").read_text()

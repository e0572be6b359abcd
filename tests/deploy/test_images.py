"""The Dockerfiles: whatever they copy exists, is sent to the builder, and is all that the image needs."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("trainer", "api")


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str


def instructions(repository: Path, name: str) -> list[Instruction]:
    """The instructions of a Dockerfile; comments dropped, continued lines joined."""
    text = (repository / "deploy" / f"{name}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined]


def copied(repository: Path, name: str) -> list[str]:
    """What a Dockerfile copies from the repository."""
    copies = [item.rest.split() for item in instructions(repository, name) if item.word == "COPY"]
    return [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]


def build_wheel(context: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Build the project in `context` as pip does, whose own start takes twice as long."""
    backend = tomllib.loads((context / "pyproject.toml").read_text())["build-system"]["build-backend"]
    program = f"import sys, {backend} as backend; backend.build_wheel(sys.argv[1])"
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=context, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_copied_exists(repository: Path, name: str) -> None:
    sources = copied(repository, name)

    assert sources
    for source in sources:
        assert (repository / source).exists(), source


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_copied_is_sent_to_the_builder(repository: Path, name: str) -> None:
    everything, *rules = [
        line for line in (repository / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    sent = {line.removeprefix("!") for line in rules if line.startswith("!")}

    assert everything == "*"
    assert set(copied(repository, name)) <= sent


def test_nothing_is_sent_to_the_builder_that_no_image_copies(repository: Path) -> None:
    lines = (repository / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert sent == {source for name in NAMES for source in copied(repository, name)}


@pytest.mark.parametrize("name", NAMES)
def test_copies_between_stages_name_a_stage(repository: Path, name: str) -> None:
    found = instructions(repository, name)
    stages = {item.rest.split(" AS ")[1] for item in found if item.word == "FROM" and " AS " in item.rest}
    froms = re.findall(r"--from=(\S+)", " ".join(item.rest for item in found if item.word == "COPY"))

    assert set(froms) <= stages


@pytest.mark.parametrize("name", NAMES)
def test_the_image_runs_as_an_ordinary_user(repository: Path, name: str) -> None:
    final = instructions(repository, name)
    users = [item.rest for item in final if item.word == "USER"]

    assert users == ["1000:1000"]
    assert final[-1].word == "CMD"
    assert final[-2].word in {"USER", "EXPOSE", "HEALTHCHECK"}


@pytest.mark.parametrize("name", NAMES)
def test_base_images_are_pinned_and_have_the_python_that_is_required(repository: Path, name: str) -> None:
    bases = {item.rest.split()[0] for item in instructions(repository, name) if item.word == "FROM"}
    (base,) = bases

    assert re.fullmatch(r"python:3\.(1[1-9])\.[0-9]+-slim-[a-z]+", base)


@pytest.mark.parametrize(
    ("name", "extras"), [("trainer", {"train", "perceptual", "postgres"}), ("api", {"api", "postgres", "notify"})]
)
def test_extras_are_those_of_the_process_and_versions_those_of_the_lock(
    repository: Path, name: str, extras: set[str]
) -> None:
    runs = " ".join(item.rest for item in instructions(repository, name) if item.word == "RUN")

    (installed,) = set(re.findall(r'"\.\[([a-z,]+)\]"', runs))
    assert set(installed.split(",")) == extras
    assert "--constraint requirements.lock" in runs


def test_api_image_never_gets_the_training(repository: Path) -> None:
    assert "ddp" not in copied(repository, "api")
    assert "api" not in copied(repository, "trainer")


@pytest.mark.parametrize(("name", "package"), [("trainer", "ddp"), ("api", "api")])
def test_what_is_copied_builds_a_package_with_all_its_files(
    repository: Path, tmp_path: Path, name: str, package: str
) -> None:
    """What `pip install .` would install in the image: service and the one package, pages and scripts included."""
    context = tmp_path / "context"
    context.mkdir()
    for source in copied(repository, name):
        path = repository / source
        if path.is_dir():
            shutil.copytree(path, context / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(path, context / source)
    wanted = {
        path.relative_to(context).as_posix()
        for folder in ("service", package)
        for path in (context / folder).rglob("*")
        if path.is_file()
    }

    built = build_wheel(context, tmp_path)

    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = {item for item in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in item}
    assert inside == wanted


def test_dependencies_can_be_installed_before_the_code_is_copied(repository: Path, tmp_path: Path) -> None:
    """The layer of dependencies builds a package without any code."""
    for item in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / item, tmp_path / item)

    built = build_wheel(tmp_path, tmp_path / "wheels")

    assert built.returncode == 0, built.stderr


def test_the_health_check_of_the_api_image_is_a_program_that_asks_for_life(repository: Path) -> None:
    (check,) = [item.rest for item in instructions(repository, "api") if item.word == "HEALTHCHECK"]
    command = json.loads(check[check.index("[") :])

    compile(command[-1], "healthcheck", "exec")
    assert "/livez" in command[-1]

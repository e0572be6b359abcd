"""What a release is made of: pinned packages with their hashes, a bill of materials, the licences of others."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s\\]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def materials(repository: Path) -> ModuleType:
    """The script that writes the bill."""
    spec = importlib.util.spec_from_file_location("bill_of_materials", repository / "deploy/bill_of_materials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bill(materials: ModuleType) -> dict[str, Any]:
    """The bill of this environment; `make sbom` also holds it against CycloneDX's schema, which takes long."""
    made: dict[str, Any] = materials.restricted(materials.environment_bill(is_checked=False), materials.purposes())
    return made


def pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall(text)}


def test_the_lock_with_hashes_has_the_same_pins_each_with_hashes(repository: Path) -> None:
    plain = (repository / "requirements.lock").read_text()
    hashed = (repository / "requirements.hashed.lock").read_text()
    entries = re.split(r"\n(?=\S)", hashed.strip())

    assert pins(hashed) == pins(plain)
    assert len(entries) == len(pins(plain))
    for entry in entries:
        first, *hashes = entry.replace("\\\n", " ").split("--hash=")
        assert hashes, first
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text.strip()) for text in hashes), first


def test_the_lock_is_within_the_ranges_of_the_project(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    locked = pins((repository / "requirements.lock").read_text())
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    asked = [requirement for requirement in map(Requirement, texts) if canonicalize_name(requirement.name) in locked]

    assert len(asked) > 15
    for requirement in asked:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), str(requirement)


def test_pip_takes_the_lock_with_hashes(repository: Path) -> None:
    """All of it is installed, so nothing is downloaded: that the file is one of its own kind, and whole."""
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", "--no-index", "--dry-run"]
    said = subprocess.run(
        [*command, "--disable-pip-version-check", "--requirement", "requirements.hashed.lock"],
        cwd=repository, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr
    assert "Would install" not in said.stdout


def test_the_bill_has_what_the_extras_need_in_the_versions_of_the_lock(
    repository: Path, materials: ModuleType, bill: dict[str, Any]
) -> None:
    locked = pins((repository / "requirements.lock").read_text())
    listed = {canonicalize_name(item["name"]): item["version"] for item in bill["components"]}

    assert listed.keys() == materials.purposes().keys()
    assert listed == {name: locked[name] for name in listed}
    assert {"torch", "flask", "apprise", "psycopg"} <= listed.keys()
    assert {"pytest", "mypy"}.isdisjoint(listed)


def test_the_packages_of_every_extra_are_in_lock_and_page_with_its_purpose(
    repository: Path, materials: ModuleType
) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (\S+) \|", (repository / "docs/third-party.md").read_text(), re.MULTILINE)
    apart = {"all", "sign"}  # the others together; an environment of its own

    assert extras.keys() - apart <= materials.lock.MEANINGS.keys()
    needed = {canonicalize_name(Requirement(text).name) for name in extras.keys() - apart for text in extras[name]}
    assert needed <= set(map(canonicalize_name, rows))


def test_the_bill_says_who_needs_whom_and_nothing_of_this_machine(repository: Path, bill: dict[str, Any]) -> None:
    needs = {item["ref"].partition("==")[0]: item["dependsOn"] for item in bill["dependencies"]}

    assert any(name.startswith("Werkzeug==") for name in needs["Flask"])
    for place in (repository, Path(sys.prefix), Path(sys.base_prefix)):
        assert str(place) not in json.dumps(bill)


def test_the_page_of_licences_is_up_to_date(repository: Path, materials: ModuleType, bill: dict[str, Any]) -> None:
    written = (repository / "docs/third-party.md").read_text()

    assert written == materials.page(bill, materials.purposes()), "run `make sbom`"


@pytest.mark.parametrize(
    ("component", "text"),
    [
        ({}, "not declared"),
        ({"licenses": [{"expression": "MIT OR X"}]}, "MIT OR X"),
        (
            {"licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: MIT License"}}]},
            "MIT",
        ),
        ({"licenses": [{"license": {"name": "License :: OSI Approved :: BSD License"}}]}, "BSD License"),
    ],
)
def test_a_licence_is_told_once(materials: ModuleType, component: dict[str, Any], text: str) -> None:
    assert materials.licence(component) == text

"""Libraries of others that pages load: each is what its publisher released, and says under which licence."""

import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path("api/static/vendor")


@pytest.fixture
def vendor(repository: Path) -> Path:
    return repository / VENDOR


def test_the_manifest_names_every_file_with_its_sha256(vendor: Path) -> None:
    manifest = json.loads((vendor / "manifest.json").read_text(encoding="utf-8"))
    files = sorted(path for path in vendor.rglob("*") if path.is_file() and path.name != "manifest.json")
    present = {path.relative_to(vendor).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert {name: digest for library in manifest for name, digest in library["files"].items()} == present


def test_every_library_has_a_version_a_licence_and_its_text(vendor: Path) -> None:
    for library in json.loads((vendor / "manifest.json").read_text(encoding="utf-8")):
        assert all(library[key] for key in ("name", "version", "from", "licence"))
        folders = {name.partition("/")[0] for name in library["files"]}
        assert folders == {library["name"]}
        assert f"{library['name']}/LICENSE" in library["files"]
        assert library["version"] in library["from"]

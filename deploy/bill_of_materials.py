"""Writes which packages of others a release needs: a bill of materials, and a page with their licences.

    .venv/bin/python deploy/bill_of_materials.py          (or: make sbom)

The bill is `dist/leitstand-<version>.cdx.json` (CycloneDX 1.6), the page `docs/third-party.md`. Both hold what the
extras of pyproject.toml need, in the versions of this environment; tools for tests and linting are left out.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "deploy"))
import lock  # noqa: E402  # beside this file, in no package

DEVELOPMENT = ("test", "lint")
OWN = "leitstand"
HEAD = """\
# Packages of others

What each part of Leitstand needs beside Python, with the licences that the packages declare. `make sbom` writes this
page, and a bill of materials in CycloneDX's format with the same packages into `dist/`.

Binary packages hold libraries of others, whose licences are in them: `av` FFmpeg with x264 and x265 (GPL), `pillow`
image libraries, `psycopg-binary` libpq and OpenSSL, `torch` for GPUs NVIDIA's CUDA libraries, which are no open source.

| package | version | licence | for |
|---|---|---|---|
"""

Bill = dict[str, Any]


def purposes() -> dict[str, str]:
    """What each package is for, by its canonical name, in the order of pyproject.toml: the first that needs it."""
    found: dict[str, str] = {}
    for group, texts in lock.groups(ROOT / "pyproject.toml").items():
        if group not in DEVELOPMENT:
            for name in sorted(set(lock.closure(texts)) - found.keys()):
                found[name] = lock.MEANINGS[group]
    return found


def environment_bill(*, is_checked: bool = True) -> Bill:
    """The bill of everything that is installed here, by cyclonedx-py; it takes half a minute to check it itself."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "bill.json"
        options = ["--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(target)]
        options.append("--validate" if is_checked else "--no-validate")
        command = (sys.executable, "-m", "cyclonedx_py", "environment", *options, sys.executable)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        bill: Bill = json.loads(target.read_text())
    return bill


def restricted(bill: Bill, names: Mapping[str, str]) -> Bill:
    """The bill with these packages alone. A local part of a version (`+cpu`) is left out, as in requirements.lock."""
    kept = [item for item in bill["components"] if canonicalize_name(item["name"]) in names]
    references = {item["bom-ref"] for item in kept} | {bill["metadata"]["component"]["bom-ref"]}
    for item in kept:
        item["version"], local, _ = item["version"].partition("+")
        if local:
            item["purl"] = f"pkg:pypi/{item['name'].lower()}@{item['version']}"
    dependencies = [
        {**item, "dependsOn": [name for name in item.get("dependsOn", ()) if name in references]}
        for item in bill.get("dependencies", ())
        if item["ref"] in references
    ]
    return {**bill, "components": kept, "dependencies": dependencies}


def licence(component: Mapping[str, Any]) -> str:
    """The licences that a package declares: identifiers of SPDX where it does, else its own words."""
    found = []
    for item in component.get("licenses", ()):
        stated = item.get("license", {})
        found.append(item.get("expression") or stated.get("id") or stated.get("name", "").splitlines()[0])
    # A package may declare its licence and repeat it as a classifier, in other words.
    identified = [text for text in found if not text.startswith("License ::")]
    return ", ".join(dict.fromkeys(identified or [text.rpartition(":: ")[2] for text in found])) or "not declared"


def page(bill: Bill, names: Mapping[str, str]) -> str:
    """The page with all licences."""
    by_name = {canonicalize_name(item["name"]): item for item in bill["components"]}
    rows = []
    for name, purpose in names.items():
        item = by_name[name]
        rows.append(f"| {item['name']} | {item['version']} | {licence(item)} | {purpose} |")
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    """Write both files."""
    names = purposes()
    bill = restricted(environment_bill(), names)
    version = bill["metadata"]["component"].get("version") or installed_version(OWN)
    target = ROOT / "dist" / f"{OWN}-{version}.cdx.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(bill, indent=2) + "\n")
    (ROOT / "docs" / "third-party.md").write_text(page(bill, names))
    sys.stdout.write(f"{target.relative_to(ROOT)} and docs/third-party.md hold {len(names)} packages.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The file of a provenance: collected at a start, named by the sha256 of its content, read by `leitstand reproduce`.

Equal starts have the same file: it holds no time.
"""

import getpass
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from service import __version__
from service.atomic_files import read_small_file, write_atomically
from service.config.loader import LoadedConfig, plain_values
from service.run.directory import RunDirectory
from service.run.records.provenance.git_state import GitState, git_state

FORMAT = 1
SHA_LENGTHS = (40, 64)
"""Of a commit and of a sha256 in hexadecimal digits; their first twelve tell them apart."""
SOURCE_TREE = Path(__file__).resolve().parents[4]

Provenance = Mapping[str, Any]


def collect(loaded: LoadedConfig, about_run: Mapping[str, Any], git: GitState | None) -> dict[str, Any]:
    """Return from what a start is made; `about_run` are world size, devices, data and parent, which the caller knows.

    Secrets are not in it: settings that are secret are only said to be set.
    """
    code = {"version": __version__, "commit": None, "diff_sha256": None, "diff_bytes": 0, "is_diff_kept": False}
    if git is not None:
        code |= {
            "commit": git.commit, "diff_sha256": git.diff_sha256, "diff_bytes": git.diff_bytes,
            "is_diff_kept": git.diff is not None,
        }  # fmt: skip
    return {
        "format": FORMAT,
        "settings": plain_values(loaded.config),
        "origins": dict(loaded.origins),
        "code": code,
        "python": platform.python_version(),
        "packages": packages(),
        "host": platform.node(),
        "platform": platform.platform(),
        "user": user_name(),
        **about_run,
    }


def packages() -> dict[str, str]:
    """Return the version of every installed package by its name."""
    found = map(_name_and_version, metadata.distributions())
    return {name: version for name, version in sorted(found) if name}


def _name_and_version(item: metadata.Distribution) -> tuple[str, str]:
    """Read two lines: `item.metadata` parses whole descriptions, which takes half a second for 200 packages."""
    text = item.read_text("METADATA") or item.read_text("PKG-INFO") or ""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    values = {key: value.strip() for key, _, value in lines if key in {"Name", "Version"}}
    return values.get("Name", ""), values.get("Version", "")


def user_name() -> str | None:
    """Return who runs this process; None where the system does not know."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None


@dataclass(frozen=True)
class ProvenanceFile:
    """A provenance that can be written, with the diff of the source tree."""

    content: bytes
    git: GitState | None

    @classmethod
    def collect(cls, loaded: LoadedConfig, about_run: Mapping[str, Any]) -> "ProvenanceFile":
        """Look at the code and the machine now; `about_run` as for `collect`."""
        git = git_state(SOURCE_TREE)
        text = json.dumps(collect(loaded, about_run, git), indent=2, ensure_ascii=False, default=str)
        return cls(text.encode() + b"\n", git)

    @property
    def sha256(self) -> str:
        """The name of the file, without its ending."""
        return hashlib.sha256(self.content).hexdigest()

    def write(self, directory: RunDirectory) -> None:
        """Write both files, unless they are there. Raises `OSError`."""
        directory.provenance.mkdir(exist_ok=True)
        if self.git is not None and self.git.diff is not None:
            _write_once(directory.provenance / f"{self.git.diff_sha256}.diff", self.git.diff)
        _write_once(directory.provenance / f"{self.sha256}.json", self.content)


def write(directory: RunDirectory, loaded: LoadedConfig, about_run: Mapping[str, Any]) -> str:
    """Collect and write a provenance; returns its sha256. Raises `OSError`."""
    file = ProvenanceFile.collect(loaded, about_run)
    file.write(directory)
    return file.sha256


def _write_once(path: Path, content: bytes) -> None:
    if not path.exists():
        write_atomically(path, content)


def read(directory: RunDirectory, sha256: str) -> Provenance:
    """Return a provenance.

    Raises `OSError`, or `ValueError` if its file is damaged: its sha256 is its name.
    """
    content = read_small_file(directory.provenance / f"{sha256}.json")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its content is not what its name says")
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it holds no object")  # noqa: TRY004 - damaged, not a mistake in the program
    return found


def versions(root: Path, sha256: str | None) -> dict[str, str]:
    """Return the code and the machine of a start by name, as far as a provenance in `root` says; empty without one."""
    try:
        found = read(RunDirectory(root), sha256) if sha256 else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return versions_of(found)


def versions_of(found: Provenance) -> dict[str, str]:
    """Return the code and the machine of a start by name, as far as a provenance says."""
    code = found.get("code") or {}
    named = {
        "leitstand": code.get("version"), "commit": code.get("commit"), "uncommitted": code.get("diff_sha256"),
        "python": found.get("python"), "torch": found.get("torch"), "cuda": found.get("cuda"),
        "user": found.get("user"), "platform": found.get("platform"),
    }  # fmt: skip
    return {name: str(value) for name, value in named.items() if value}


def differences(found: Provenance) -> list[str]:
    """Return what is not on this machine as it was at that start, as sentences."""
    git = git_state(SOURCE_TREE)
    code = found.get("code", {})
    here: Mapping[str, tuple[Any, Any]] = {
        "Leitstand": (code.get("version"), __version__),
        "commit": (code.get("commit"), None if git is None else git.commit),
        "uncommitted changes": (code.get("diff_sha256"), None if git is None else git.diff_sha256),
        "Python": (found.get("python"), platform.python_version()),
        "host": (found.get("host"), platform.node()),
        "user": (found.get("user"), user_name()),
    }
    sentences = [
        f"{name}: {_shown(then)} then, {_shown(now)} here." for name, (then, now) in here.items() if then != now
    ]
    return sentences + _package_differences(found.get("packages", {})) + _missing_data(found.get("settings", {}))


def _package_differences(then: Mapping[str, str]) -> list[str]:
    here = packages()
    return [
        f"package {name}: {then.get(name, 'none')} then, {here.get(name, 'none')} here."
        for name in sorted({*then, *here}, key=str.lower)
        if then.get(name) != here.get(name)
    ]


def _missing_data(settings: Mapping[str, Any]) -> list[str]:
    root = str(settings.get("DATASET_ROOT") or "")
    return [f"DATASET_ROOT: {root} is no directory here."] if root and not Path(root).is_dir() else []


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:12] if len(text) in SHA_LENGTHS else text

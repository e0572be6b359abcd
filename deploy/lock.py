"""Prints the lock file: what this environment has installed of what pyproject.toml asks for, pinned, by purpose.

    .venv/bin/python deploy/lock.py > requirements.lock        (or: make lock, which adds requirements.hashed.lock)

Follows the requirements of installed packages; packages that nothing asks for are left out. Installs nothing.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAD = """\
# Every package that Leitstand is built, run and tested with, at the version it was tested with.
# Made by `make lock` from what is installed; to move to newer versions: install them, `make test`, `make lock`.
"""
MEANINGS = {
    "base": "service: settings, store, client, command line",
    "train": "training processes",
    "api": "the HTTP process",
    "perceptual": "features for the perceptual loss",
    "postgres": "a store that many runs share",
    "tensorboard": "scalars and pictures for TensorBoard",
    "watch": "the living view in a terminal",
    "lmdb": "patch sets in databases",
    "parquet": "tables of records as Parquet files",
    "export": "networks as ONNX files",
    "notify": "alerts to the places that people read",
    "plot": "pictures of records",
    "test": "tests",
    "lint": "lint and types",
}


def groups(project_file: Path) -> dict[str, list[str]]:
    """The requirements of pyproject.toml by purpose, as far as they are locked, our own extras left out."""
    content = tomllib.loads(project_file.read_text())
    project = content["project"]
    named = {"base": project["dependencies"], **project["optional-dependencies"], **content["dependency-groups"]}
    own = canonicalize_name(project["name"])
    return {
        name: [text for text in texts if canonicalize_name(Requirement(text).name) != own]
        for name, texts in named.items()
        if name in MEANINGS  # `bench` and `sign` belong to environments of their own
    }


def closure(texts: Iterable[str]) -> Iterator[str]:
    """The names of these requirements and of all that they require in turn, here."""
    waiting = [Requirement(text) for text in texts]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        yield name
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [item for item in required_by(name) if applies(item, extra)]


def required_by(name: str) -> list[Requirement]:
    """What an installed package requires."""
    return [Requirement(text) for text in distribution(name).requires or []]


def applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement holds on this system, for this extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def pinned(name: str) -> str:
    """`name==version`; a build's local part (`+cpu`) is left out, so that the lock holds on other machines too."""
    found = distribution(name)
    return f"{found.metadata['Name']}=={found.version.partition('+')[0]}"


def main() -> int:
    """Print the lock; returns 1 when something is not installed."""
    project_file = Path(__file__).parents[1] / "pyproject.toml"
    lines, known = [HEAD], set[str]()
    try:
        for group, texts in groups(project_file).items():
            new = sorted(set(closure(texts)) - known)
            known.update(new)
            if new:
                lines += ["", f"# {MEANINGS[group]}", *(pinned(name) for name in new)]
    except PackageNotFoundError as error:
        sys.stderr.write(f"Error: {error.name} is not installed; run `make setup` first.\n")
        return 1
    sys.stdout.write("\n".join(lines).replace("\n\n\n", "\n\n") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

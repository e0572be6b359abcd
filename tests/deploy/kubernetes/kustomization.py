"""Kustomize's rules, as far as our kustomizations need them: what a folder brings, and what it may refer to.

kustomize itself is in no package that the tests could install.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
KNOWN = {"apiVersion", "kind", "resources", "configMapGenerator", "generatorOptions"}


class KustomizationError(Exception):
    """kustomize would refuse to build this folder."""


def build(folder: Path) -> list[Manifest]:
    """The manifests that `kubectl apply -k folder` would apply."""
    file = folder / "kustomization.yaml"
    if not file.is_file():
        raise KustomizationError(f"{folder} has no kustomization.yaml")
    content = yaml.safe_load(file.read_text())
    if unknown := content.keys() - KNOWN:
        raise KustomizationError(f"{file} has {sorted(unknown)}, which this reader does not know")
    made = [item for name in content["resources"] for item in _resource(folder, name)]
    options = content.get("generatorOptions", {})
    made += [_config_map(folder, given, options) for given in content.get("configMapGenerator", ())]
    names = [(item["kind"], item["metadata"]["name"]) for item in made]
    if len(set(names)) < len(names):
        raise KustomizationError(f"{folder} makes a resource twice: {names}")
    return made


def documents(path: Path) -> list[Manifest]:
    """The manifests in a file."""
    return [item for item in yaml.safe_load_all(path.read_text()) if item is not None]


def _resource(folder: Path, name: str) -> Iterator[Manifest]:
    path = folder / name
    if path.is_dir():
        yield from build(path)
    else:
        yield from documents(_file(folder, name))


def _file(folder: Path, name: str) -> Path:
    """A file that a kustomization names: kustomize reads none outside of its folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise KustomizationError(f"{name} is outside of {folder}")
    if not path.is_file():
        raise KustomizationError(f"{folder} names {name}, which does not exist")
    return path


def _config_map(folder: Path, given: dict[str, Any], options: dict[str, Any]) -> Manifest:
    if not options.get("disableNameSuffixHash"):
        raise KustomizationError("a name with a hash is not put into the pods of custom resources")
    data = {Path(name).name: _file(folder, name).read_text() for name in given["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": given["name"]}, "data": data}

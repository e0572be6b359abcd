"""`croissant.json` of a patch set, against the rules of Croissant that a reader relies on."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.patch_set import PatchSet
from ddp.vsr.prepare.manifest import PatchSettings
from ddp.vsr.prepare.pipeline import Work, prepare_videos

TINY = PatchSettings(patch_size=48, val_width=60, val_height=48, patch_count=12, val_count=2)
FILE_PROPERTIES = {"fullpath", "filepath", "filename", "content", "lines", "lineNumbers"}


@pytest.fixture
def dataset(
    tmp_path: Path,
    textured: Callable[..., list[NDArray[np.uint8]]],
    write_video: Callable[[Path, list[NDArray[np.uint8]]], Path],
) -> Path:
    folder = tmp_path / "my videos"
    folder.mkdir()
    write_video(folder / "über uns.mkv", [*textured(0, 24), *textured(3, 12), *textured(1, 18)])
    prepare_videos(folder, tmp_path / "set", TINY, Work(lambda _: None))
    return tmp_path / "set"


def described(dataset: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dataset / "croissant.json").read_text(encoding="utf-8"))
    return found


def test_the_set_is_described_with_where_it_is_from_and_what_it_may_be_used_for(dataset: Path) -> None:
    found, manifest = described(dataset), (dataset / "dataset.json").read_bytes()

    assert (found["@type"], found["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.1")
    assert all(found[key] for key in ("name", "description", "license", "datePublished", "creator", "version"))
    (own,) = (item for item in found["distribution"] if item["@type"] == "cr:FileObject")
    assert (own["contentUrl"], own["sha256"]) == ("dataset.json", hashlib.sha256(manifest).hexdigest())
    (source,) = found["isBasedOn"]
    assert (source["name"], source["sha256"]) == ("über uns.mkv", json.loads(manifest)["sources"][0]["sha256"])
    assert found["license"] == [source["license"]] == ["not stated"]


def test_the_files_that_it_names_are_those_that_are_there_and_their_names_join_them(dataset: Path) -> None:
    found = described(dataset)
    sets = {item["@id"]: item["includes"] for item in found["distribution"] if item["@type"] == "cr:FileSet"}
    files = {name: sorted(path.name for path in dataset.glob(pattern)) for name, pattern in sets.items()}

    assert sum(map(len, files.values())) == len([*dataset.rglob("*.png")]) > 0
    records = {item["@id"]: item["field"] for item in found["recordSet"]}
    assert list(records) == ["training_lr", "training_gt", "validation_lr", "validation_gt"]
    for purpose in ("training", "validation"):
        (lr_name, lr), (gt_name, gt) = records[f"{purpose}_lr"], records[f"{purpose}_gt"]
        assert [item["dataType"] for item in (lr_name, lr, gt_name, gt)] == ["sc:Text", "sc:ImageObject"] * 2
        assert lr_name["references"] == {"field": {"@id": gt_name["@id"]}}
        assert lr_name["source"]["fileSet"] == lr["source"]["fileSet"] != gt["source"]["fileSet"]
        assert files[lr["source"]["fileSet"]["@id"]] == files[gt["source"]["fileSet"]["@id"]]
    training = PatchSet.open(dataset, "Patches", TINY.frames, TINY.scale)
    assert len(files["patches-lr"]) == len(training)


def test_every_name_is_there_once_and_every_reference_leads_to_one(dataset: Path) -> None:
    found = described(dataset)
    nodes = [*found["distribution"], *found["recordSet"], *(f for r in found["recordSet"] for f in r["field"])]
    identifiers = [node["@id"] for node in nodes]

    assert len(identifiers) == len(set(identifiers))
    assert set(references_in(found["recordSet"])) <= set(identifiers)
    assert set(properties_in(found["recordSet"])) <= FILE_PROPERTIES
    assert all(key.startswith("@") or key in found["@context"] or key in SCHEMA_ORG for key in keys_in(nodes))


SCHEMA_ORG = {"contentUrl", "contentSize", "encodingFormat", "sha256"}


def references_in(value: Any) -> Iterator[str]:
    """Objects that have nothing but an `@id`."""
    if isinstance(value, dict):
        if value.keys() == {"@id"}:
            yield value["@id"]
        for item in value.values():
            yield from references_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from references_in(item)


def properties_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "fileProperty" in value:
            yield value["fileProperty"]
        for item in value.values():
            yield from properties_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from properties_in(item)


def keys_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys_in(item)

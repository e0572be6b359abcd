"""`croissant.json`: the patch set described as Croissant 1.1, from which other programs read its pairs of images.

It says the same as `dataset.json`, in the vocabulary of schema.org and Croissant: files, sources, how pairs are joined.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

CROISSANT_FILE = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
PNG = "image/png"
HALVES = {"Patches": "training", "Val": "validation"}
"""Folder of each half, and what it is for."""
_WHAT = {"LR": "Low-resolution frames, the first on top", "GT": "High-resolution frame"}
"""What an image of each folder is."""
MAX_SOURCES = 1000
UNSTATED = "not stated"

_PLAIN = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _PLAIN},
}
"""The terms that Croissant 1.1 prescribes."""


def croissant_of(manifest: bytes, manifest_name: str, made_on: date) -> bytes:
    """Return the description of a set, given the content of its `dataset.json`, which lies beside it."""
    content = json.loads(manifest)
    sha256 = hashlib.sha256(manifest).hexdigest()
    sources = content["sources"]
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "@id": "dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"patch-set-{sha256[:12]}",
        "description": _description(content),
        "datePublished": made_on.isoformat(),
        "version": "1.0.0",
        "license": _licences(sources),
        "creator": {"@type": "sc:Organization", "name": "Made by leitstand prepare"},
        "keywords": ["video super-resolution", f"scale {content['settings']['scale']}"],
        "isBasedOn": [_source(source) for source in sources[:MAX_SOURCES]],
        "distribution": [_manifest_object(manifest_name, manifest, sha256), *_file_sets()],
        "recordSet": [_images(half, purpose, side) for half, purpose in HALVES.items() for side in _WHAT],
    }
    return (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _description(content: Mapping[str, Any]) -> str:
    settings, counts = content["settings"], content["counts"]
    return (
        f"Pairs for training and validating video super-resolution networks: {counts['Patches']} training and "
        f"{counts['Val']} validation pairs from {len(content['sources'])} videos, split by scene. Each has a "
        f"high-resolution frame (GT) and {settings['frames']} low-resolution frames stacked vertically (LR), of which "
        f"the middle one shows the same moment {settings['scale']} times smaller."
    )


def _licences(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is known of the licences of the videos, each once."""
    return list(dict.fromkeys(str(source.get("licence", UNSTATED)) for source in sources)) or [UNSTATED]


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "sc:VideoObject",
        "name": source["name"],
        "license": source.get("licence", UNSTATED),
        "sha256": source["sha256"],
        "description": f"{source['frame_count']} frames of {source['width']}x{source['height']}; {source['origin']}",
    }


def _manifest_object(name: str, content: bytes, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "manifest",
        "name": name,
        "description": "Sources, scenes and settings of the set",
        "contentUrl": name,
        "contentSize": f"{len(content)} B",
        "encodingFormat": "application/json",
        "sha256": sha256,
    }


def _file_sets() -> Iterator[dict[str, Any]]:
    """Yield the four folders of images, as folders beside the description."""
    for half, purpose in HALVES.items():
        for side, text in _WHAT.items():
            yield {
                "@type": "cr:FileSet",
                "@id": _set_id(half, side),
                "name": _set_id(half, side),
                "description": f"{text}, for {purpose}",
                "encodingFormat": PNG,
                "includes": f"{half}/{side}/*.png",
            }


def _set_id(half: str, side: str) -> str:
    return f"{half.lower()}-{side.lower()}"


def _images(half: str, purpose: str, side: str) -> dict[str, Any]:
    """Return the images of one folder by the name of their files, which is the same for LR and GT of a pair.

    A record for both would be shorter. But mlcroissant 1.1.1 joins two file sets so that the content of both is that of
    the first, without a word (`findings/croissant-joined-images.sh`).
    """
    records = f"{purpose}_{side.lower()}"
    name = _field(f"{records}/name", "Name of the file, the same for LR and GT", "sc:Text", half, side, "filename")
    if side == "LR":
        name["references"] = {"field": {"@id": f"{purpose}_gt/name"}}
    image = _field(f"{records}/image", _WHAT[side], "sc:ImageObject", half, side, "content")
    return {
        "@type": "cr:RecordSet",
        "@id": records,
        "name": records,
        "description": f"{side} of the pairs for {purpose}",
        "key": {"@id": f"{records}/name"},
        "field": [name, image],
    }


def _field(identifier: str, description: str, kind: str, half: str, side: str, what: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": identifier,
        "name": re.sub(".*/", "", identifier),
        "description": description,
        "dataType": kind,
        "source": _source_of(half, side, what),
    }


def _source_of(half: str, side: str, what: str) -> dict[str, Any]:
    return {"fileSet": {"@id": _set_id(half, side)}, "extract": {"fileProperty": what}}

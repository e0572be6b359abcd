#!/usr/bin/env bash
# mlcroissant 1.1.1 (Croissant 1.1), the reference reader of Croissant data sets.
#
# Behaviour: a record set joins the files of two folders by their names (`references`) and has a field with the `content` of
#   each. It is valid, `mlcroissant validate` reports nothing, and reading it raises nothing; but both fields hold the
#   content of the first folder: the second one's files are never read.
# The good guess that was wrong: a field's `source` names its file set, so that its content is of that file set.
# What helps: a record set of its own for each folder, with the name as key; who reads them joins them.
#
# Output seen: "x.txt: left b'the left file', right b'the left file'; apart: b'the right file'".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlcroissant==1.1.1

mkdir -p "$folder/set/left" "$folder/set/right"
printf 'the left file' >"$folder/set/left/x.txt"
printf 'the right file' >"$folder/set/right/x.txt"

cat >"$folder/read.py" <<'PYTHON'
"""Print the content of two joined files, and of the right one read apart."""

import json
import sys
from pathlib import Path

import mlcroissant

TERMS = (
    "citeAs column containedIn extract field fileObject fileProperty fileSet format includes key md5 path recordSet "
    "references regex repeated separator source subField transform"
)


def source(side, what):
    return {"fileSet": {"@id": side}, "extract": {"fileProperty": what}}


def field(identifier, side, what, **others):
    kind = {"@type": "cr:Field", "dataType": "sc:Text", "name": identifier.split("/")[1]}
    return {"@id": identifier, **kind, "source": source(side, what), **others}


def records(name, *fields):
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": list(fields)}


folder = Path(sys.argv[1])
described = {
    "@context": {
        "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, **{term: f"cr:{term}" for term in TERMS.split()},
    },
    "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.1", "name": "pairs", "description": "Pairs.",
    "datePublished": "2026-01-01", "license": "CC0-1.0", "version": "1.0.0", "url": "https://example.org",
    "creator": {"@type": "sc:Person", "name": "Eva"}, "citeAs": "Pairs",
    "distribution": [
        {
            "@type": "cr:FileSet", "@id": side, "name": side, "encodingFormat": "text/plain", "includes": f"{side}/*.txt",
        }
        for side in ("left", "right")
    ],
    "recordSet": [
        records(
            "pairs",
            field("pairs/name", "left", "filename", references=source("right", "filename")),
            field("pairs/left", "left", "content"),
            field("pairs/right", "right", "content"),
        ),
        records("apart", field("apart/right", "right", "content")),
    ],
}
(folder / "croissant.json").write_text(json.dumps(described))
found = mlcroissant.Dataset(jsonld=folder / "croissant.json")
issues = found.metadata.ctx.issues
assert not issues.errors, issues.errors
assert not issues.warnings, issues.warnings
(pair,), (apart,) = (list(found.records(record_set=name)) for name in ("pairs", "apart"))
name = pair["pairs/name"].decode()
print(f"{name}: left {pair['pairs/left']}, right {pair['pairs/right']}; apart: {apart['apart/right']}")
PYTHON

seen=$("$folder/venv/bin/python" "$folder/read.py" "$folder/set" 2>"$folder/errors") || {
  cat "$folder/errors"
  exit 1
}
echo "$seen"
test "$seen" = "x.txt: left b'the left file', right b'the left file'; apart: b'the right file'"

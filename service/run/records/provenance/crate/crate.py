"""The description of a run as an RO-Crate: `ro-crate-metadata.json`, which lies in the run directory itself."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.run.records.provenance.crate.actions import (
    MAX_COMMANDS,
    RunEnd,
    Start,
    command_actions,
    start_actions,
)
from service.run.records.provenance.crate.entities import (
    CONTEXT,
    PROCESS_PROFILE,
    Entity,
    descriptor,
    entity,
    moment,
    profile,
    reference,
    references,
    software,
)
from service.run.records.provenance.crate.parts import MAX_RECORDS, Parts

NO_LICENCE = "#no-licence"


@dataclass(frozen=True)
class RunDescription:
    """What a crate says of a run besides its files.

    `provenance` is that of its last start; `commands` those that ended, in the order of their ends. Times are Unix
    seconds.
    """

    run_id: str
    published_at: float
    name: str = ""
    note: str = ""
    licence: str = ""
    starts: Sequence[Start] = ()
    end: RunEnd = field(default_factory=RunEnd)
    commands: Sequence[Mapping[str, Any]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def crate_document(run: RunDescription, parts: Parts) -> dict[str, Any]:
    """Return the content of the metadata file."""
    actions: list[Entity] = []
    others: dict[str, Entity] = {}
    for action, agents in [*start_actions(run.starts, run.end, parts), *command_actions(run.commands, parts)]:
        actions.append(action)
        others |= {agent["@id"]: agent for agent in agents}
    described_in = next(iter([*reversed(parts.provenances.values()), *parts.entities]), None)
    code, packages = run.provenance.get("code") or {}, run.provenance.get("packages") or {}
    programs = software(code, packages, _python(run), described_in)
    licence = _licence(run.licence)
    graph = [
        descriptor(),
        _root(run, parts, actions, licence),
        profile(),
        licence,
        *programs,
        *_data(run, actions),
        *others.values(),
        *parts.entities.values(),
        *actions,
    ]
    return {"@context": CONTEXT, "@graph": graph}


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a metadata file's bytes."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _root(run: RunDescription, parts: Parts, actions: Iterable[Entity], licence: Entity) -> Entity:
    return {
        **entity("./", "Dataset", name=run.name or f"Training run {run.run_id}", identifier=run.run_id),
        "description": _description(run, parts),
        "datePublished": moment(run.published_at),
        "license": reference(licence["@id"]),
        "conformsTo": reference(PROCESS_PROFILE),
        "hasPart": references(parts.entities),
        "mentions": references(action["@id"] for action in actions),
    }


def _description(run: RunDescription, parts: Parts) -> str:
    sentences = [run.note or "A training of a video super-resolution network, watched and steered by Leitstand."]
    if parts.record_count > MAX_RECORDS:
        sentences.append(f"It has {parts.record_count} records, of which the newest {MAX_RECORDS} are described.")
    if len(run.commands) > MAX_COMMANDS:
        sentences.append(f"It got {len(run.commands)} commands, of which the newest {MAX_COMMANDS} are described.")
    return " ".join(sentences)


def _licence(given: str) -> Entity:
    if given:
        identifier = given if "://" in given else f"https://spdx.org/licenses/{given}"
        return entity(identifier, "CreativeWork", name=given)
    text = "Whoever made the run has not said under which licence it may be used."
    return entity(NO_LICENCE, "CreativeWork", name="No licence stated", description=text)


def _python(run: RunDescription) -> str | None:
    version = run.provenance.get("python")
    return None if version is None else str(version)


def _data(run: RunDescription, actions: Sequence[Entity]) -> list[Entity]:
    """Return the data sets, known by their fingerprints alone, and make them inputs of the trainings."""
    names = {"training_data": "Training set", "validation_data": "Validation set"}
    found = [
        entity(f"#{key.replace('_', '-')}", "Dataset", name=name, identifier=run.provenance.get(key))
        for key, name in names.items()
        if run.provenance.get(key)
    ]
    for action in actions:
        if action["@id"].startswith("#start-"):
            action["object"] = [*_listed(action.get("object")), *references(item["@id"] for item in found)]
    return found


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]

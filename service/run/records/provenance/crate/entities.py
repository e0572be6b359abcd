"""Entities of an RO-Crate: JSON-LD objects with an `@id`, an `@type` and properties of schema.org."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

Entity = dict[str, Any]

METADATA_FILE = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.3/context"
CRATE_PROFILES = ("https://w3id.org/ro/crate/1.3", "https://w3id.org/ro/crate/1.1")
"""The specification that the crate follows, and the one on which the profile builds; it is within both."""
PROCESS_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
SOFTWARE = "#leitstand"


def entity(identifier: str, kind: str | list[str], /, **properties: Any) -> Entity:
    """Return an entity; properties that are None or empty are left out, and a list of one value becomes the value."""
    known = {name: value for name, value in properties.items() if value not in (None, "", [], {})}
    return {"@id": identifier, "@type": kind, **{name: _single(value) for name, value in known.items()}}


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def reference(identifier: str) -> dict[str, str]:
    """Return what stands for an entity in another one."""
    return {"@id": identifier}


def references(identifiers: Iterable[str]) -> list[dict[str, str]]:
    """Return references to several entities."""
    return [reference(identifier) for identifier in identifiers]


def path_id(path: str) -> str:
    """Return the identifier of a file or folder in the crate, by its path with `/` as the separator."""
    return quote(path)


def moment(seconds: float | None) -> str | None:
    """Return a time (Unix seconds) as ISO 8601 in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def person(name: str) -> Entity:
    """Return a person by the name under which a command was given."""
    return entity(f"#person-{quote(name, safe='')}", "Person", name=name)


def descriptor() -> Entity:
    """Return the entity that says what the metadata file is."""
    return {
        **entity(METADATA_FILE, "CreativeWork"),
        "about": reference("./"),
        "conformsTo": references(CRATE_PROFILES),
    }


def profile() -> Entity:
    """Return the profile to which the crate conforms."""
    return entity(PROCESS_PROFILE, ["CreativeWork", "Profile"], name="Process Run Crate", version="0.5")


def software(
    code: Mapping[str, Any], packages: Mapping[str, str], python: str | None, described_in: str | None
) -> list[Entity]:
    """Return Leitstand, and what it ran with; `code` and `packages` as in a provenance.

    `described_in` is the identifier of the file in the crate that says which code it was, to the commit.
    """
    used = [("Python", python, "https://www.python.org"), ("PyTorch", packages.get("torch"), "https://pytorch.org")]
    parts = [
        entity(f"#{name.lower()}", "SoftwareApplication", name=name, version=version, url=url)
        for name, version, url in used
        if version
    ]
    version = str(code.get("version") or "unknown")
    commit = code.get("commit")
    main = entity(
        SOFTWARE,
        "SoftwareApplication",
        name="Leitstand",
        description="The control room for training video super-resolution networks",
        version=f"{version} ({commit})" if commit else version,
        url=None if described_in is None else reference(described_in),
        softwareRequirements=references(part["@id"] for part in parts),
    )
    return [main, *parts]

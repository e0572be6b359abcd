"""GET /provenance/<sha256>."""

import hashlib
import os
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.config.loader import load_config
from service.run.directory import RunDirectory
from service.run.records.provenance.provenance import write
from service.store.store import Store


@pytest.fixture
def sha256(root: Path, store: Store) -> str:
    """A provenance as a start writes it, with a secret setting."""
    loaded = load_config(None, ["API_TOKEN=hush-hush", "N_FEATS=48"], {})
    return write(RunDirectory(root), loaded, {"world_size": 2, "torch": "2.9"})


def test_the_file_is_served_byte_for_byte_under_the_sha256_that_records_name(
    client: FlaskClient, root: Path, sha256: str
) -> None:
    answer = client.get(f"/provenance/{sha256}")
    content = (root / "provenance" / f"{sha256}.json").read_bytes()

    assert answer.data == content
    assert answer.headers["ETag"] == f'"{sha256}"'
    assert answer.headers["Content-Disposition"] == f"attachment; filename={sha256}.json"
    assert answer.headers["Repr-Digest"].startswith("sha-256=:")
    assert client.get(f"/provenance/{sha256}", headers={"If-None-Match": f'"{sha256}"'}).status_code == 304
    part = client.get(f"/provenance/{sha256}", headers={"Range": "bytes=2-9"})
    assert (part.status_code, part.data) == (206, content[2:10])


def test_settings_and_their_origins_are_in_it_and_no_secret_is(client: FlaskClient, sha256: str) -> None:
    answer = client.get(f"/provenance/{sha256}")

    assert answer.get_json()["settings"]["N_FEATS"] == 48
    assert answer.get_json()["settings"]["API_TOKEN"] == "(set)"
    assert b"hush-hush" not in answer.data


@pytest.mark.parametrize("name", ["0" * 64, "latest", "../run", "A" * 64, "%2e%2e%2frun.json"])
def test_what_no_record_can_name_is_not_found(client: FlaskClient, sha256: str, name: str) -> None:
    assert sha256 != name
    assert client.get(f"/provenance/{name}").status_code == 404


def test_uncommitted_changes_a_changed_file_a_link_and_a_large_file_are_not_served(
    client: FlaskClient, root: Path, sha256: str, tmp_path: Path
) -> None:
    folder = root / "provenance"
    (folder / f"{'d' * 64}.diff").write_text("+token = 'hush-hush'\n")
    content = b'{"settings": {}}'
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(content)
    linked = hashlib.sha256(content).hexdigest()
    os.symlink(elsewhere, folder / f"{linked}.json")
    (folder / f"{sha256}.json").write_bytes(b"{}")

    for name in ("d" * 64, f"{'d' * 64}.diff", linked, sha256):
        answer = client.get(f"/provenance/{name}")
        assert (answer.status_code, b"hush" in answer.data) == (404, False), name
    assert "no whole provenance" in client.get(f"/provenance/{sha256}").get_json()["detail"]

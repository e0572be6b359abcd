"""The sha256 of every record's file as the store has them. A run directory's own store is only read, never upgraded."""

import sqlite3
from contextlib import closing
from pathlib import Path

from service.errors import UserError
from service.run.directory import RunDirectory

PAGE = 10_000

Digests = dict[int, str]


def own_digests(root: Path, run_id: str) -> Digests:
    """Return the digests by step in the store inside a run directory; raises `sqlite3.Error`."""
    path = RunDirectory(root).store
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT step, sha256 FROM records WHERE run_id = ?", (run_id,)))


def shared_digests(store_url: str, run_id: str) -> Digests:
    """Return the digests by step in a store that many runs share; raises `UserError` if it cannot be asked."""
    from service.store.store import Store, StoreUnavailableError

    store, found = Store(store_url), Digests()
    try:
        while page := store.records.find_versions(run_id, beyond=max(found, default=None), limit=PAGE):
            found |= {version.step: version.sha256 for version in page}
    except StoreUnavailableError as error:
        raise UserError(f"The store cannot be asked ({error}); mend STORE_URL, or unset it.") from None
    finally:
        store.close()
    return found

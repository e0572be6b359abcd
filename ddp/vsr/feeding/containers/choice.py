"""Which container a side of a patch set has. Opens what it finds, and never creates anything."""

from pathlib import Path

from ddp.vsr.feeding.containers import lmdb_store, shard_store
from ddp.vsr.feeding.containers.store import FolderStore, PictureStore


def store_of(folder: Path) -> PictureStore:
    """Return the store of a side: folders of files, if there are some, else databases, else shards.

    Raises `DatasetError` and `OSError`.
    """
    if not (folder / "GT").is_dir():
        if (folder / f"GT{lmdb_store.SUFFIX}").is_dir():
            return lmdb_store.LmdbStore(folder)
        if folder.is_dir() and any(path.name.endswith(shard_store.SUFFIX) for path in folder.iterdir()):
            return shard_store.ShardStore(folder)
    return FolderStore(folder)

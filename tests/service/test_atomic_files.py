"""Files that appear whole or not at all."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.atomic_files import (
    SMALL_FILE_BYTES,
    TEMPORARY_PREFIX,
    read_small_file,
    replace_link,
    sha256_of,
    sync_folder,
    write_atomically,
)

BIG = b"x" * 200_000


def failing(code: int) -> Callable[..., Any]:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_is_written_with_its_sha256(tmp_path: Path) -> None:
    digest = write_atomically(tmp_path / "a.json", BIG)

    assert (tmp_path / "a.json").read_bytes() == BIG
    assert digest == hashlib.sha256(BIG).hexdigest() == sha256_of(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_others_never_see_a_file_that_is_not_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (modes.append(os.fstat(file).st_mode & 0o777), sync(file)))

    write_atomically(tmp_path / "a.json", b"secret", mode=0o600)

    assert modes[0] == (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("function", "code"), [("os.fsync", errno.ENOSPC), ("pathlib.Path.replace", errno.EIO)])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    write_atomically(tmp_path / "a.json", b"old")
    monkeypatch.setattr(function, failing(code))

    with pytest.raises(OSError, match=os.strerror(code)):
        write_atomically(tmp_path / "a.json", BIG)

    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(Path, "with_name", lambda _self, name: Path(tmp_path, name))
    temporary = tmp_path / f"{TEMPORARY_PREFIX}a.json.{os.getpid()}"
    temporary.symlink_to(full)  # every write to it meets a real ENOSPC

    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(tmp_path / "a.json", BIG)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "a.json", b"x")


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 50_000 for number in (1, 2)]
    write_atomically(path, contents[0])
    seen: set[bytes] = set()
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        for content in contents:
            write_atomically(path, content)
    is_over.set()
    reader.join()

    assert seen <= set(contents)
    assert seen


def test_a_link_is_made_and_replaced_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        replace_link(tmp_path / "latest", name)
        assert os.readlink(tmp_path / "latest") == name

    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]


def test_a_link_that_a_crash_left_half_made_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY_PREFIX}latest.{os.getpid()}").symlink_to("nowhere")

    replace_link(tmp_path / "latest", "one")

    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_a_folder_that_cannot_be_synced_is_closed_and_the_error_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_folder(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_small_file_is_read_through_a_link_and_a_large_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"content")
    (tmp_path / "link").symlink_to("small")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(SMALL_FILE_BYTES + 1)

    assert read_small_file(tmp_path / "link") == b"content"
    with pytest.raises(OSError, match="it has 16,777,217 bytes"):
        read_small_file(tmp_path / "large")
    with pytest.raises(FileNotFoundError):
        read_small_file(tmp_path / "none")


@pytest.mark.timeout(30)
def test_what_is_no_ordinary_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")

    for name in ("pipe", "device", "."):
        for read in (read_small_file, sha256_of):
            with pytest.raises(OSError, match="it is no ordinary file"):
                read(tmp_path / name)

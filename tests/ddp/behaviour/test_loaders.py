"""A rank whose loader processes cannot go on ends with one sentence, and leaves none of them behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.run.state import RunState
from service.store.store import Store
from tests.ddp.harness.launching import Launch, settings, torchrun

SMALL_SHARED_MEMORY = "mount --make-rprivate / && mount -t tmpfs -o size=1m tmpfs /dev/shm && "
OWN_MOUNTS = ["unshare", "--mount", "sh", "-c"]


def needs_own_mounts() -> None:
    """Skip the test where a process may not have a /dev/shm of its own."""
    if not shutil.which("unshare") or os.geteuid() != 0:
        pytest.skip("only root may mount a small /dev/shm for a process, by `unshare`")
    tried = subprocess.run([*OWN_MOUNTS, f"{SMALL_SHARED_MEMORY} true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no small /dev/shm can be mounted here: {tried.stderr.strip()}")


def failure(root: Path) -> str:
    """The reason for which the run has failed."""
    run = Store(root / "leitstand.db").runs.latest()
    assert run is not None
    assert run.state is RunState.FAILED
    return str(run.reason)


def test_too_small_a_shared_memory_ends_the_training_with_what_helps(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    needs_own_mounts()
    values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", NUM_WORKERS=1, BATCH_SIZE=200, MAX_STEPS=4)
    command = torchrun(2, "-m", "ddp", *values)
    command[command.index("torch.distributed.run")] = "service.launcher.torchrun"

    process = launch([*OWN_MOUNTS, SMALL_SHARED_MEMORY + 'exec "$@"', "sh", *command], is_forked=False)

    output = tmp_path / "output.txt"
    assert process.wait(timeout=120) == 2, output.read_text()
    sentences = [line for line in output.read_text().splitlines() if line.startswith("Error: ")]
    assert sentences
    assert all("need more shared memory than /dev/shm has (1 MiB, 0 MiB of it free)" in line for line in sentences)
    assert "NUM_WORKERS=0 needs none" in sentences[0]
    assert "Traceback" not in output.read_text()
    assert "need more shared memory" in failure(tmp_path / "run")


def test_loaders_that_cannot_use_shared_memory_end_the_training_with_what_is_wrong_and_what_helps(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    needs_own_mounts()
    values = settings(DATASET_ROOT=tiny_dataset, DATA_ROOT=tmp_path / "run", NUM_WORKERS=1, MAX_STEPS=4)
    command = torchrun(2, "-m", "ddp", *values)
    command[command.index("torch.distributed.run")] = "service.launcher.torchrun"
    mount = SMALL_SHARED_MEMORY.replace("size=1m", "size=1m,ro")

    process = launch([*OWN_MOUNTS, mount + 'exec "$@"', "sh", *command], is_forked=False)

    output = tmp_path / "output.txt"
    assert process.wait(timeout=120) == 2, output.read_text()
    assert "cannot use the shared memory /dev/shm (Read-only file system): mount a tmpfs" in output.read_text()
    assert "NUM_WORKERS=0, which needs none" in output.read_text()
    assert "Rank 0 failed" not in output.read_text()


def test_data_that_loaders_cannot_read_end_the_training_with_the_sentence_and_without_a_traceback(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_dataset, damaged)
    for file in (damaged / "Patches" / "GT").iterdir():
        os.truncate(file, file.stat().st_size * 2 // 3)  # the header is whole
    values = settings(DATASET_ROOT=damaged, DATA_ROOT=tmp_path / "run", NUM_WORKERS=1, MAX_STEPS=4)

    process = launch([sys.executable, "-m", "ddp", *values])

    output = tmp_path / "output.txt"
    assert process.wait(timeout=120) == 2, output.read_text()
    assert "Error: 11 training samples in a row cannot be read, from " in output.read_text()
    assert "Traceback" not in output.read_text()
    assert failure(tmp_path / "run").startswith("11 training samples in a row cannot be read")


def test_a_picture_that_cannot_be_read_is_named_once_however_often_it_comes_again(
    launch: Launch, tmp_path: Path, tiny_dataset: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_dataset, damaged)
    for name in ("Patches/GT/train_03.png", "Val/GT/val_1.png"):
        os.truncate(damaged / name, (damaged / name).stat().st_size * 2 // 3)
    values = settings(DATASET_ROOT=damaged, DATA_ROOT=tmp_path / "run", MAX_STEPS=20)

    process = launch(torchrun(2, "-m", "ddp", *values))

    output = tmp_path / "output.txt"
    assert process.wait(timeout=120) == 0, output.read_text()
    said = [line for line in output.read_text().splitlines() if "unreadable" in line]
    assert sorted(re.findall("(?:train|val)_[0-9]+", " ".join(said))) == ["train_03", "val_1", "val_1"]
    assert len(said) == 2  # six epochs and four validations, on two ranks
    store = Store(tmp_path / "run" / "leitstand.db")
    run = store.runs.latest()
    assert run is not None
    events = [event for event in store.events.find(run.id, 0, limit=1000) if event.kind == "skipped"]
    assert ["train_03" in str(event.details) for event in events].count(True) == 1
    assert ["val_1" in str(event.details) for event in events].count(True) == 1

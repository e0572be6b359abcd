"""The whole of Leitstand on real video: start, watch, steer, lose the API, leave, continue, and use the records.

The tests run in their order on one control room, as a person would: starting one is what costs time.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import psutil
import pytest
import requests

from service.run.record import KEYS, list_records, record_name
from service.run.record_schema import record_schema
from tests.e2e.conftest import ControlRoom, close_room, open_room, wait_for_training

Eventually = Callable[..., None]


def test_the_first_records_come_by_themselves_and_are_complete(room: ControlRoom, eventually: Eventually) -> None:
    eventually(lambda: len(list_records(room.root)) >= 2, seconds=120, what="two records")

    for step, path in list_records(room.root):
        record = json.loads(path.read_text(), parse_constant=pytest.fail)
        jsonschema.validate(record, record_schema())
        assert list(record) == list(KEYS)
        assert (record["step_current"], record["world_size"]) == (step, 2)
        assert record["perceptual_loss_value"] > 0
        assert record["validation_image_count"] == 8


def test_curl_validates_and_the_answer_leads_to_the_record(room: ControlRoom, eventually: Eventually) -> None:
    shown = subprocess.run(
        ["curl", "-sS", "-i", "-X", "POST", f"{room.url}/validate"], capture_output=True, text=True, check=True
    ).stdout
    head, body = shown.replace("\r\n", "\n").split("\n\n", 1)
    location = re.search(r"^Location: (/commands/\w+)$", head, re.MULTILINE)
    assert head.startswith("HTTP/1.1 202"), shown
    assert location is not None
    assert json.loads(body)["state"] == "queued"

    def is_done() -> bool:
        return bool(requests.get(room.url + location.group(1), timeout=20).json()["state"] == "done")

    eventually(is_done, seconds=60, what="the validation's end")
    result = requests.get(room.url + location.group(1), timeout=20).json()
    name = result["result"]["record"]
    assert name == record_name(result["step"])
    served = requests.get(f"{room.url}/statistics/{name}", timeout=20)
    assert served.content == (room.root / name).read_bytes()


def test_the_command_line_watches_and_steers(room: ControlRoom) -> None:
    validated = room.run_cli("validate", "--wait")
    assert validated.returncode == 0, validated.stderr
    assert "Statistik_" in validated.stdout

    assert room.run_cli("pause", "--wait").returncode == 0
    state = json.loads(room.run_cli("state", "--json").stdout)
    assert state["run_state"] == "paused"
    assert room.run_cli("resume", "--wait").returncode == 0

    listed = room.run_cli("stats", "list").stdout
    steps = [int(number) for number in re.findall(r"Statistik_(\d+)\.json", listed)]
    assert len(steps) >= 3
    assert steps == sorted(steps)


def training_processes(room: ControlRoom) -> set[int]:
    """The processes of torchrun and its ranks, which may be forks with a name of their own."""
    return {child.pid for child in room.processes() if _trains(child)}


def _trains(process: psutil.Process) -> bool:
    return "-m ddp" in command_of(process) or re.fullmatch("rank [0-9]+", process.name()) is not None


def command_of(process: psutil.Process) -> str:
    """The command line, empty for a process that has ended since it was listed."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_killed_api_comes_back_and_the_training_never_notices(room: ControlRoom, eventually: Eventually) -> None:
    before = room.live_step()
    trainers = training_processes(room)
    assert len(trainers) >= 3  # torchrun and two ranks
    servers = [child for child in room.processes() if "gunicorn" in command_of(child)]
    assert len(servers) >= 2  # master and worker
    for server in servers:
        server.kill()
    eventually(lambda: room.live_step() > before + 5, seconds=60, what="the API, showing later steps")

    assert training_processes(room) == trainers
    assert "failed" not in (room.root / "training.log").read_text()


@pytest.mark.parametrize("number", range(7))
def test_the_snippets_of_the_records_page_run_unchanged(
    number: int, room: ControlRoom, repository: Path, folder: Path, eventually: Eventually
) -> None:
    eventually(lambda: (room.root / "Statistik_20.json").exists(), seconds=60, what="the record of step 20")
    other = folder / "runs" / "other"
    if not other.exists():
        shutil.copytree(room.root, other, ignore=shutil.ignore_patterns(".*", "*.db*", "checkpoints", "archive"))
    snippets = re.findall(r"```python\n(.*?)```", (repository / "docs" / "records.md").read_text(), re.DOTALL)
    assert len(snippets) == 7

    done = subprocess.run(
        [sys.executable, "-c", snippets[number]], cwd=folder, env={"MPLBACKEND": "Agg", "HOME": str(folder)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    made = {2: "records.csv", 3: "quality.png"}.get(number)
    assert (folder / made).stat().st_size > 1000 if made else done.stdout.strip()


def test_ctrl_c_saves_leaves_no_process_behind_and_the_next_start_goes_on(
    room: ControlRoom, repository: Path, folder: Path, eventually: Eventually
) -> None:
    everything = room.processes()
    room.process.send_signal(signal.SIGINT)
    room.process.wait(timeout=60)

    gone, alive = psutil.wait_procs(everything, timeout=20)
    assert alive == [], [process.cmdline() for process in alive]
    assert len(gone) >= 5
    left_at = int((room.root / "checkpoints" / "latest").resolve().name.removeprefix("step_"))
    kept = {path.name for _, path in list_records(room.root)}

    again = open_room(repository, folder, "again.txt", "--leave", VAL_STEP_EVERY=10, LOG_EVERY=5, MAX_STEPS=left_at + 8)
    try:
        assert wait_for_training(again)
        assert again.process.wait(timeout=120) == 0, again.output.read_text()
    finally:
        close_room(again)
    assert f"Resuming at step {left_at}" in again.output.read_text()
    assert kept <= {path.name for _, path in list_records(room.root)}
    final = json.loads((room.root / record_name(left_at + 8)).read_text())
    assert final["trigger"] == "final"

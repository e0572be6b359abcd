"""What a control room of very many ended runs costs: processor seconds of the first lists, and of the alert monitor.

    python -m bench.reading.control_room [--runs N] [--shared N] [--records N] [--watch-seconds S] [--before DIR]

Makes N directories of ended runs, then looks at them in a fresh process: `GET /runs` once, again, and the share of a
core that the alert monitor takes afterwards. With `--before`, a checkout of an earlier state, the same is measured
there in turn. Then the first page of N runs in a PostgreSQL store, three times in one process, and
`GET /statistics/compare` of seven runs with N records each.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.run.record import encode_record, record_name
from service.run.state import RunState
from service.store.store import Store
from service.store.tables import runs
from tests.api.harness.example_run import example_record
from tests.postgres import postgres_service

CHECKOUT = Path(__file__).resolve().parents[2]

LOOK = """
import sys, time
from pathlib import Path
from api.app import create_app
from api.alerts.current import alert_logs_of
from api.alerts.monitor import AlertMonitor
from service.config.settings import RunConfig

app = create_app(RunConfig(data_root=Path(sys.argv[1])))
client = app.test_client()

def processor_seconds(path):
    began = time.process_time()
    answer = client.get(path)
    assert answer.status_code == 200, answer.get_json()
    return time.process_time() - began

first = processor_seconds("/runs")
again = min(processor_seconds("/runs") for _ in range(5))
watch_seconds = float(sys.argv[2])
monitor = AlertMonitor(app.extensions["leitstand"], alert_logs_of(app), lambda: False)
began = time.process_time()
monitor.check()
first_check = time.process_time() - began
monitor.start()
time.sleep(5)
began = time.process_time()
time.sleep(watch_seconds)
watched = (time.process_time() - began) / watch_seconds
print(f"first /runs {first:.3f} s, again {again:.4f} s;", end=" ")
print(f"alerts: first check {first_check:.3f} s, then {watched:.2%} of a core")
"""

LIST = """
import sys, time
from pathlib import Path
from api.app import create_app
from service.config.settings import RunConfig

client = create_app(RunConfig(data_root=Path("/nonexistent"), store_url=sys.argv[1])).test_client()
for _ in range(3):
    began = time.perf_counter()
    assert client.get("/runs").status_code == 200
    print(f"{time.perf_counter() - began:.3f} s", end="  ")
print()
"""

COMPARE = """
import sys, time
from pathlib import Path
from api.app import create_app
from service.config.settings import RunConfig

client = create_app(RunConfig(data_root=Path(sys.argv[1]))).test_client()
runs = sorted(run["run_id"] for run in client.get("/runs").get_json()["runs"])
path = "/statistics/compare?limit=1000&runs=" + ",".join(runs)

def processor_seconds():
    began = time.process_time()
    answer = client.get(path)
    assert answer.status_code == 200, answer.get_json()
    return time.process_time() - began, answer

first, answer = processor_seconds()
again = min(processor_seconds()[0] for _ in range(5))
print(f"{len(answer.get_json()['records'])} records, first {first:.3f} s, again {again:.4f} s")
"""
COMPARED_RUNS, IMAGES = 7, 58


def make_records(room: Path, count: int) -> None:
    """Write COMPARED_RUNS runs with records of 15 kB."""
    make_runs(room, COMPARED_RUNS)
    for run in room.iterdir():
        for number in range(1, count + 1):
            record = example_record(100 * number, time.time())
            image = record["validation_images"][0]
            record["validation_images"] = [{**image, "name": f"clip_{index:04}.png"} for index in range(IMAGES)]
            (run / record_name(100 * number)).write_bytes(encode_record(record))
    time.sleep(2.5)


def make_runs(room: Path, count: int) -> None:
    """Write directories of runs that ended within the last hour, each by a copy of the first with an id of its own."""
    template = room / "template"
    template.mkdir(parents=True)
    store = Store(template / "leitstand.db", create=True)
    store.open_run("template", plain_values(RunConfig(data_root=template)))
    store.runs.update("template", state=RunState.FINISHED.value, step=1000, heartbeat_at=time.time())
    store.close()
    for number in range(count):
        folder = shutil.copytree(template, room / f"run-{number:05}")
        (folder / "run.json").write_text(f'{{"run_id": "run-{number:05}"}}')
        _rename(folder / "leitstand.db", f"run-{number:05}", number)
    shutil.rmtree(template)
    time.sleep(2.5)  # what was written just now is read again


def _rename(path: Path, run_id: str, number: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET id = ?, started_at = ?", (run_id, 1e9 + number))
        connection.execute("UPDATE events SET run_id = ?", (run_id,))
    connection.close()


def add_shared_runs(url: str, count: int) -> None:
    """Insert rows of ended runs into an empty PostgreSQL store."""
    store = Store(url, create=True)
    store.open_run("first", {})
    now = time.time()
    same = {"config": plain_values(RunConfig()), "state": RunState.FINISHED.value, "snapshot": example_record(100, 1.0)}
    rows = [
        {"id": f"run-{number}", "step": 5, "started_at": now - number, "heartbeat_at": now, "progress_at": now, **same}
        for number in range(count)
    ]
    with store.transaction() as connection:
        connection.execute(sa.insert(runs), rows)
    store.close()


def look(checkout: Path, script: str, *arguments: str) -> str:
    """Return the report of a fresh process that runs a script with the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, text=True, capture_output=True, check=True).stdout


def main() -> None:
    """Make runs, look at them, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--shared", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--watch-seconds", type=float, default=30.0)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    checkouts = [("before", options.before)] if options.before else []
    checkouts.append(("now", CHECKOUT))
    with tempfile.TemporaryDirectory(prefix="leitstand-room-") as name:
        room = Path(name)
        make_runs(room, options.runs)
        for label, checkout in checkouts:
            _say(label, options.runs, "runs", look(checkout, LOOK, name, str(options.watch_seconds)))
    with postgres_service() as service:
        add_shared_runs(url := service.new_database(), options.shared)
        for label, checkout in checkouts:
            _say(label, options.shared, "runs in PostgreSQL, first page", look(checkout, LIST, url))
    with tempfile.TemporaryDirectory(prefix="leitstand-room-") as name:
        make_records(Path(name), options.records)
        for label, checkout in checkouts:
            _say(label, COMPARED_RUNS, "runs compared", look(checkout, COMPARE, name))


def _say(label: str, count: int, what: str, report: str) -> None:
    sys.stdout.write(f"{label:7} {count} {what}: {report}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

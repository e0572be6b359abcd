"""Listing and history over HTTP, beside MLflow's and TensorBoard's servers with the same points on the same machine.

    python -m venv PEERS && PEERS/bin/pip install mlflow tensorboard
    python -m bench.reading.history --peers PEERS [--points N] [--records N] [--rounds N]

Every server runs alone with its own store: Leitstand's SQLite file and gunicorn, MLflow's SQLite file and its server,
TensorBoard's event file, fully loaded. Requests go one after another over one connection; the servers take turns from
round to round. Times are of the whole answer; a history of several values costs the peers one request for each.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.reading.fill_values import NAMES, value
from bench.starts.room import free_port
from service.run.record import encode_record
from service.store.store import SeriesRow, Store
from tests.api.harness.example_run import RUN_ID, example_record, write_run

REDUCED_TO = 1000
SERIES_BATCH = 500
START_SECONDS = 120.0


@dataclass(frozen=True)
class Question:
    """Some requests that together answer one question of a person, to one server."""

    what: str
    server: str
    urls: tuple[str, ...]


def main() -> None:
    """Fill, serve, measure, print a table."""
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leitstand-history-")))
        peers = Path(options.peers).absolute() / "bin"
        mlflow_run = _fill_peers(peers, folder, options.points)
        _fill_ours(folder / "run", options.points, options.records)
        _fill_artifacts(folder, mlflow_run, options.records)
        ours = stack.enter_context(serving(our_command(), "/livez", environment={"DATA_ROOT": str(folder / "run")}))
        mlflow = stack.enter_context(serving(_mlflow_command(peers, folder), "/health"))
        status_store = stack.enter_context(serving(_tensorboard_command(peers, folder), "/data/plugin/scalars/tags"))
        _await_tags(status_store)
        questions = [*_ours(ours), *_mlflow(mlflow, mlflow_run), *_tensorboard(status_store)]
        _print(_measured(questions, options.rounds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, help="virtual environment with mlflow and tensorboard")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=20)
    return parser.parse_args()


# The same data for all


def _fill_peers(peers: Path, folder: Path, points: int) -> str:
    program = [str(peers / "python"), "-m", "bench.reading.fill_peers", str(folder), str(points)]
    return subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()[-1]


def _fill_ours(root: Path, points: int, records: int) -> None:
    write_run(root, last_step=0).close()
    store = Store(root / "leitstand.db", keep_open=True)
    rows = [
        SeriesRow(step, time.time(), {name: value(at, step) for at, name in enumerate(NAMES)})
        for step in range(1, points + 1)
    ]
    for start in range(0, points, SERIES_BATCH):
        store.series.add(RUN_ID, rows[start : start + SERIES_BATCH])
    store.close()
    for step in range(1, records + 1):
        (root / f"Statistik_{step}.json").write_bytes(_record_bytes(step))


def _fill_artifacts(folder: Path, run_id: str, records: int) -> None:
    """MLflow's counterpart of the records: the same files as artifacts of the run."""
    target = folder / "artifacts" / run_id / "artifacts"
    target.mkdir(parents=True, exist_ok=True)
    for step in range(1, records + 1):
        (target / f"Statistik_{step}.json").write_bytes(_record_bytes(step))


def _record_bytes(step: int) -> bytes:
    return encode_record(example_record(step, 1.0))


# The servers


def our_command() -> list[str]:
    return [sys.executable, "-m", "gunicorn", "-c", "python:api.server.gunicorn_config", "api.app:create_app()"]


def _mlflow_command(peers: Path, folder: Path) -> list[str]:
    store = f"sqlite:///{folder / 'mlflow.db'}"
    return [str(peers / "mlflow"), "server", "--backend-store-uri", store, "--workers", "1", "--port", "{port}"]


def _tensorboard_command(peers: Path, folder: Path) -> list[str]:
    logs = str(folder / "tensorboard")
    return [str(peers / "tensorboard"), "--logdir", logs, "--port", "{port}", "--samples_per_plugin", "scalars=1000"]


@contextmanager
def serving(
    command: list[str], ready_path: str, environment: dict[str, str] | None = None, folder: Path | None = None
) -> Iterator[str]:
    """The base URL of a server, started in `folder`, that answers at `ready_path`; ended afterwards."""
    port = free_port()
    filled = [part.replace("{port}", str(port)) for part in command]
    settings = {**os.environ, "API_PORT": str(port), "API_READS_PER_MINUTE": "1000000", **(environment or {})}
    process = subprocess.Popen(
        filled, env=settings, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _await(lambda: requests.get(f"http://127.0.0.1:{port}{ready_path}", timeout=5).ok, command[0])
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # Aim's command ends without the server that it has started
        process.wait(30)


def _await_tags(status_store: str) -> None:
    """TensorBoard loads in the background; wait until the last step is there."""
    url = f"{status_store}/data/plugin/scalars/scalars?run=.&tag={NAMES[0]}"
    seen: list[int] = []

    def is_loaded() -> bool:
        answer = requests.get(url, timeout=30)
        seen.append(answer.json()[-1][1] if answer.ok and answer.json() else 0)
        return len(seen) > 1 and seen[-1] == seen[-2] > 0

    _await(is_loaded, "tensorboard")


def _await(is_ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if is_ready():
                return
        except (requests.RequestException, ValueError):
            pass
        time.sleep(0.5)
    raise SystemExit(f"{what} did not get ready within {START_SECONDS:g} s")


# The questions


def _ours(base: str) -> list[Question]:
    def history(names: tuple[str, ...]) -> str:
        return f"{base}/series?points={REDUCED_TO}&names={','.join(names)}"

    return [
        Question("history, 1 value", "leitstand", (history(NAMES[:1]),)),
        Question("history, 4 values", "leitstand", (history(NAMES[:4]),)),
        Question("list of files, first page of 100", "leitstand", (f"{base}/statistics?limit=100",)),
        Question("the run now", "leitstand", (f"{base}/state",)),
    ]


def _mlflow(base: str, run_id: str) -> list[Question]:
    def history(name: str) -> str:
        query = f"run_ids={run_id}&metric_key={name}&max_results={REDUCED_TO}"
        return f"{base}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{query}"

    return [
        Question("history, 1 value", "mlflow", (history(NAMES[0]),)),
        Question("history, 4 values", "mlflow", tuple(history(name) for name in NAMES[:4])),
        Question("list of files, all", "mlflow", (f"{base}/api/2.0/mlflow/artifacts/list?run_id={run_id}",)),
        Question("the run now", "mlflow", (f"{base}/api/2.0/mlflow/runs/get?run_id={run_id}",)),
    ]


def _tensorboard(base: str) -> list[Question]:
    def history(name: str) -> str:
        return f"{base}/data/plugin/scalars/scalars?run=.&tag={name}"

    return [
        Question("history, 1 value", "tensorboard", (history(NAMES[0]),)),
        Question("history, 4 values", "tensorboard", tuple(history(name) for name in NAMES[:4])),
        Question("list of tags", "tensorboard", (f"{base}/data/plugin/scalars/tags",)),
    ]


# Measuring


def _measured(questions: list[Question], rounds: int) -> list[tuple[Question, list[float], int]]:
    sessions = {question.server: requests.Session() for question in questions}
    seconds: dict[Question, list[float]] = {question: [] for question in questions}
    sizes: dict[Question, int] = {}
    for number in range(rounds):
        for question in questions[number % len(questions) :] + questions[: number % len(questions)]:
            started_at = time.perf_counter()
            answers = [sessions[question.server].get(url, timeout=120) for url in question.urls]
            seconds[question].append(time.perf_counter() - started_at)
            for answer in answers:
                answer.raise_for_status()
            sizes[question] = sum(len(answer.content) for answer in answers)
    return [(question, seconds[question], sizes[question]) for question in questions]


def _print(results: list[tuple[Question, list[float], int]]) -> None:
    for question, seconds, size in sorted(results, key=lambda result: (result[0].what, result[0].server)):
        first, median, worst = seconds[0], statistics.median(seconds), max(seconds)
        print(  # noqa: T201
            f"| {question.what} | {question.server} | {1000 * median:.1f} | {1000 * worst:.1f} | {1000 * first:.1f} "
            f"| {size / 1024:.0f} |"
        )


if __name__ == "__main__":
    main()

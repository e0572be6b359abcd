"""What a crowd costs: 64 clients and 32 event streams for half a minute, beside a real training.

    python -m bench.reading.load [--seconds N] [--clients N] [--streams N] [--pause N] [--rounds N]

One rank trains on its own core; the API and the crowd share the other (`taskset`), so that what is seen in the step
time is what they do to each other through store, disk and memory, not that a small machine has two cores. Quiet and
loaded stretches alternate; the step time of a stretch is its seconds over its steps. Requests alternate between
GET /state and POST /validate?dry_run. Without `--pause` every client asks again at once, so that the times say how much
one core can do; with `--pause 1` they are those of 64 open dashboards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from service.client.client import Client
from service.errors import UserError
from tests.api.harness.serving import serving
from tests.ddp.harness.launching import settings, torchrun, write_pair
from tests.e2e.traffic import ASKS, Tally, traffic

NEVER = 10**8
START_SECONDS = 60.0
TRAINER_CPU, CROWD_CPU = "0", "1"


def main() -> None:
    """Start, measure, end."""
    options = _options()
    os.sched_setaffinity(0, {int(CROWD_CPU)})
    with tempfile.TemporaryDirectory(prefix="leitstand-load-") as name:
        folder = Path(name)
        with _training(folder) as trainer:
            try:
                limits = {"API_READS_PER_MINUTE": "100000000", "API_COMMANDS_PER_MINUTE": "1000000"}
                with serving(folder / "run", **limits) as server, Client(server.url) as client:  # type: ignore[arg-type]
                    _await_step(client, 200)
                    _measure(server.url, client, options)
            finally:
                trainer.terminate()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between an answer and the next request")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _training(folder: Path) -> "subprocess.Popen[bytes]":
    """One rank on a small network, logging at the default rhythm."""
    for index in range(8):
        write_pair(folder / "Patches", f"train_{index}", 96, 96, seed=index)
    write_pair(folder / "Val", "val_0", 96, 96, seed=100)
    chosen = {"DATASET_ROOT": folder, "DATA_ROOT": folder / "run", "MAX_STEPS": NEVER, "VAL_STEP_EVERY": NEVER}
    command = torchrun(1, "-m", "ddp", *settings(LOG_EVERY=100, CHECKPOINT_EVERY=NEVER, **chosen))
    (folder / "run").mkdir()
    return subprocess.Popen(
        ["taskset", "-c", TRAINER_CPU, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _await_step(client: Client, step: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.state()["step_live"] >= step:
                return
        except UserError:
            pass
        time.sleep(0.2)
    raise SystemExit("the training did not begin")


def _measure(url: str, client: Client, options: argparse.Namespace) -> None:
    total, quiet, loaded = Tally(), [], []
    for _ in range(options.rounds):
        quiet.append(_step_seconds(client, lambda: time.sleep(options.seconds)))
        loaded.append(_step_seconds(client, lambda: total.merge(_crowd(url, options))))
    quiet.append(_step_seconds(client, lambda: time.sleep(options.seconds)))
    _print(total, quiet, loaded)


def _crowd(url: str, options: argparse.Namespace) -> Tally:
    return traffic(
        url,
        clients=options.clients,
        streams=options.streams,
        seconds=options.seconds,
        pause_seconds=options.pause,
    )


def _step_seconds(client: Client, act: Callable[[], None]) -> float:
    """Seconds per step while something goes on, by the heartbeat's step (once a second)."""
    first_step, started_at = client.state()["step_live"], time.monotonic()
    act()
    steps: int = client.state()["step_live"] - first_step
    return (time.monotonic() - started_at) / max(1, steps)


def _print(total: Tally, quiet: list[float], loaded: list[float]) -> None:
    say = sys.stdout.write
    for ask in ASKS:
        count = len(total.seconds[ask.path])
        shares = ", ".join(f"p{100 * s:g} {1000 * total.quantile(ask.path, s):.1f} ms" for s in (0.5, 0.99, 1.0))
        say(f"{ask.method} {ask.path}: {count} answers, {shares}\n")
    say(f"statuses: {dict(total.statuses)}, events: {total.events}, failures: {total.failures[:5]}\n")
    say(f"step, quiet: {', '.join(f'{1000 * s:.2f}' for s in quiet)} ms\n")
    say(f"step, loaded: {', '.join(f'{1000 * s:.2f}' for s in loaded)} ms\n")


if __name__ == "__main__":
    main()

"""How long a person waits: from the start to the first step and record, and from POST /validate to all ranks beginning.

    python -m bench.starts.room [--commands N]

Starts `leitstand up` with the demonstration's settings in a temporary run directory, the patch set being there
already, and steers it over HTTP. A delay is the last rank's time of beginning minus the time just before the request.
"""

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from service.client.client import Client
from service.errors import UserError


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def seconds_until_step(client: Client, started_at: float) -> float:
    """Seconds from the start until the API shows a first step."""
    while True:
        try:
            if client.state()["step_live"] >= 1:
                return time.monotonic() - started_at
        except UserError:
            pass  # the API or the trainer is not there yet
        time.sleep(0.02)


def seconds_until_record(client: Client, started_at: float) -> float:
    """Seconds from the start until the API lists a first record."""
    while not client.statistics()["records"]:
        time.sleep(0.02)
    return time.monotonic() - started_at


def command_delays(client: Client, count: int) -> list[tuple[float, float]]:
    """(seconds from the request to the last rank's beginning, seconds per step then) of `count` validations."""
    delays = []
    for number in range(count):
        step_seconds = client.state()["iteration_duration"] or float("nan")
        time.sleep(0.37 * (1 + number % 3))  # fall on different moments of a step
        sent_at = time.time()
        command = client.wait(client.submit("validate")["id"], timeout_seconds=120)
        began_at = max(rank["began_at"] for rank in (command["result"] or {})["ranks"])
        delays.append((began_at - sent_at, step_seconds))
    return delays


def report(first_step: float, first_record: float, delays: list[tuple[float, float]]) -> str:
    """The figures as lines of text."""
    waits = sorted(delay * 1000 for delay, _ in delays)
    beyond_step = sorted((delay - step) * 1000 for delay, step in delays)
    step_milliseconds = statistics.median(step for _, step in delays) * 1000
    return (
        f"first step after {first_step:.1f} s, first record after {first_record:.1f} s\n"
        f"POST /validate to all ranks beginning, {len(delays)} commands, step {step_milliseconds:.0f} ms: "
        f"median {statistics.median(waits):.0f} ms, max {waits[-1]:.0f} ms; "
        f"beyond one step: median {statistics.median(beyond_step):.0f} ms, max {beyond_step[-1]:.0f} ms\n"
    )


def main() -> None:
    """Start, measure, end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", type=int, default=20)
    count = parser.parse_args().commands
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).parent / "leitstand"), "up", "--demo",
            "--set", f"DATA_ROOT={folder}/run", "--set", f"API_PORT={port}",
        ]  # fmt: skip
        started_at = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as room:
            try:
                with Client(f"http://127.0.0.1:{port}") as client:
                    first_step = seconds_until_step(client, started_at)
                    first_record = seconds_until_record(client, started_at)
                    sys.stdout.write(report(first_step, first_record, command_delays(client, count)))
            finally:
                room.terminate()


if __name__ == "__main__":
    main()

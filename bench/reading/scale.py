"""What `leitstand stats` costs on very many records in one directory: seconds, processor seconds and memory.

    python -m bench.reading.scale [--records N] [--folder DIR] [--commands A,B]

Writes N records of about 11 kB with values of their own (once, if DIR is given), and hard links to them as a second
run. Each command is a fresh process; `first` has an empty cache, `again` that of the run before it, `with new` after
ten more records. Memory is the peak of the process beyond that of the same command on an empty directory.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.reading.tables import CHECKOUT, compiled_once, write_records

LEITSTAND = [sys.executable, "-c", "from service.cli import main; main()", "stats"]
COMMANDS = ("list", "csv", "check", "compare", "plot", "jsonl")
NEW = 10
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of the clock, of processors, and the peak of its memory in MiB."""

    seconds: float
    processor_seconds: float
    peak: float


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the records are kept for another time")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leitstand-scale-") as name:
        place = Path(name)
        records = options.folder or place / "records"
        if not records.exists():
            write_records(records, options.records)
        for command in options.commands.split(","):
            measure(command, records, place)


def measure(command: str, records: Path, place: Path) -> None:
    cache, empty = place / "cache", place / "empty"
    shutil.rmtree(cache, ignore_errors=True)
    empty.mkdir(exist_ok=True)
    (empty / "run.json").touch()
    other = place / "other"
    least = run(command_line(command, empty, empty, place), cache).peak
    for when in ("first", "again", "with new"):
        if command == "compare" and when == "first":
            link_all(records, other)
        if when == "with new":
            add_records(records)
        cost = run(command_line(command, records, other, place), cache)
        size = sum(path.stat().st_size for path in cache.iterdir()) / MEBIBYTE
        show(
            f"{command:8} {when:9} {cost.seconds:7.2f} s, {cost.processor_seconds:7.2f} s of processors, "
            f"{cost.peak - least:+6.0f} MiB, cache {size:5.0f} MiB"
        )


def command_line(command: str, records: Path, other: Path, place: Path) -> list[str]:
    out = {"csv": "out.csv", "jsonl": "out.jsonl", "plot": "out.png"}.get(command)
    folders = [str(records), *([str(other)] if command == "compare" else [])]
    return [*LEITSTAND, command, *folders, *(["--out", str(place / out)] if out else [])]


def run(command: Sequence[str], cache: Path) -> Cost:
    environment: Mapping[str, str] = {
        **compiled_once(cache.parent), "PYTHONPATH": str(CHECKOUT), "LEITSTAND_CACHE": str(cache),
    }  # fmt: skip
    began = time.monotonic()
    with open(os.devnull, "wb") as nowhere:
        process = os.posix_spawn(
            command[0], list(command), dict(environment), file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        )
        _, _, usage = os.wait4(process, 0)
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def link_all(records: Path, other: Path) -> None:
    other.mkdir()
    for name in os.listdir(records):
        os.link(records / name, other / name)


def add_records(records: Path) -> None:
    """Add NEW records after the last step."""
    steps = sorted(int(name.split("_")[1].split(".")[0]) for name in os.listdir(records))
    content = (records / f"Statistik_{steps[-1]}.json").read_text()
    for number in range(1, NEW + 1):
        record = json.loads(content) | {"step_current": steps[-1] + 500 * number}
        (records / f"Statistik_{record['step_current']}.json").write_text(json.dumps(record, indent=2) + "\n")


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

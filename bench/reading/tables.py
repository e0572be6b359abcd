"""What a table of a directory's records costs, and a second look at it: processor seconds beside pandas and jq.

    python -m bench.reading.tables [--records N] [--rounds N] [--pandas PYTHON] [--before DIR]

Writes N records of about 11 kB, then makes one CSV file of all, each time in a fresh process: `leitstand stats csv`
with an empty cache, and again; pandas (`json_normalize`, then `to_csv`) with the interpreter PYTHON, if given; `jq`;
with `--before`, a checkout of an earlier state. All take turns in every round; printed are medians of user and system
time of whole processes, and for the second look and pandas also of the work alone, without Python's start and imports.
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from service.run.record import encode_record, record_name
from tests.service.harness.saved_records import a_record

CHECKOUT = Path(__file__).resolve().parents[2]
LAYERS = [f"{way}_Block_{index:02d}" for way in ("Backward", "Forward") for index in range(1, 17)]

PANDAS = """
import json, sys, time
from pathlib import Path
import pandas
began = time.process_time()
files = sorted(Path(sys.argv[1]).glob("Statistik_*.json"), key=lambda path: int(path.stem.split("_")[1]))
pandas.json_normalize([json.loads(path.read_text()) for path in files]).to_csv(sys.argv[2], index=False)
print(time.process_time() - began)
"""
OURS = """
import sys, time
from pathlib import Path
from service.cli.stats.cached_records import cached_records
from service.cli.stats.directories import export_csv
began = time.process_time()
export_csv(cached_records(Path(sys.argv[1])), Path(sys.argv[2]), layers=False)
print(time.process_time() - began)
"""
JQ = """
cd "$1" && ls | sort -t_ -k2 -n | xargs jq -r \
'[.[] | if type == "object" or type == "array" then tojson else . end] | @csv' > "$2"
"""


def write_records(folder: Path, count: int) -> None:
    numbers = random.Random(1)
    folder.mkdir()
    for step in range(500, 500 * count + 1, 500):
        activity = {layer: 100 * numbers.random() for layer in LAYERS}
        ranks = [
            {"rank": rank, "host": "a", "device": f"cuda:{rank}", "step_duration": numbers.random(), "data_wait": 0.01,
             "memory": 11.0, "own_duration": numbers.random()} for rank in range(8)
        ]  # fmt: skip
        keys = ("psnr_lr_db", "psnr_ki_db", "ssim_lr", "ssim_ki", "quality_lr", "quality_ki")
        images = [{"name": f"{index}.png", **{key: numbers.random() for key in keys}} for index in range(16)]
        record = a_record(
            step, quality_ki_value=numbers.random(), total_loss_value=numbers.random(), layer_activity_map=activity,
            layer_activity_raw_map=activity, per_rank=ranks, validation_images=images,
        )  # fmt: skip
        (folder / record_name(step)).write_bytes(encode_record(record))


def processor_seconds(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, str]:
    """User and system time of a program and its children, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    place = environment.get("PYTHONPATH", "/")  # Python looks for modules where it starts, first
    printed = subprocess.run(
        command, env=dict(environment), cwd=place, capture_output=True, text=True, check=True
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, printed


def compiled_once(place: Path) -> dict[str, str]:
    """The environment, in which modules of a checkout are compiled once, as those of installed packages are."""
    others = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**others, "PYTHONPYCACHEPREFIX": str(place / "compiled")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pandas", help="an interpreter that has pandas")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier state")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run(Path(place), options)


def run(place: Path, options: argparse.Namespace) -> None:
    records, out, cache = place / "records", str(place / "out.csv"), place / "cache"
    write_records(records, options.records)
    own = {**compiled_once(place), "PYTHONPATH": str(CHECKOUT), "LEITSTAND_CACHE": str(cache)}
    stats = [sys.executable, "-c", "from service.cli import main; main()", "stats", "csv", str(records), "--out", out]
    commands = {
        "first": (stats, own),
        "second": (stats, own),
        "second, work": ([sys.executable, "-c", OURS, str(records), out], own),
    }
    if options.before:
        commands["before"] = (stats, {**compiled_once(place), "PYTHONPATH": str(options.before)})
    if options.pandas:
        commands["pandas"] = ([options.pandas, "-c", PANDAS, str(records), out], {"PATH": os.environ["PATH"]})
    if shutil.which("jq"):
        commands["jq"] = (["sh", "-c", JQ, "jq", str(records), out], {"PATH": os.environ["PATH"]})
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        shutil.rmtree(cache, ignore_errors=True)
        for name, (command, environment) in commands.items():
            seconds, printed = processor_seconds(command, environment)
            found.setdefault(name, []).append(float(printed.splitlines()[-1]) if name == "second, work" else seconds)
            if name == "pandas":
                found.setdefault("pandas, work", []).append(float(printed))
    show(found)


def show(found: Mapping[str, Sequence[float]]) -> None:
    medians = {name: median(values) for name, values in found.items()}
    for name, value in medians.items():
        print(f"{name:14} {value:7.3f} s of processor time")  # noqa: T201 - a benchmark's result
    for slow, fast in (
        ("pandas", "first"), ("jq", "first"), ("before", "first"), ("pandas", "second"),
        ("pandas, work", "second, work"),
    ):  # fmt: skip
        if slow in medians:
            print(f"{slow} / {fast}: {medians[slow] / medians[fast]:.1f}")  # noqa: T201 - a benchmark's result


if __name__ == "__main__":
    main()

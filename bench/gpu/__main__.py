"""Everything that wants a GPU, in one go of ten minutes, written as rows: `bench/gpu.sh`, or `python -m bench.gpu`.

    --out FILE       append the table here too, for RESULTS.md        --only PART …    no other parts
    --device cpu     a rehearsal                                      --size small     a tiny network

Every part is a process of its own with a time of its own: one that fails or takes too long costs its own rows, and what
it has written before stays. Exits with the number of parts that failed.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch

from bench.gpu.context import SIZES, Row
from bench.gpu.part import PARTS
from bench.gpu.report import as_table, derived, read_rows
from bench.steps.blocks import load_text
from service.launcher.parent_death import ending_with_this

SECONDS = {
    "ceiling": 40, "trainer/float32": 35, "trainer/bfloat16": 30, "trainer/bfloat16, channels-last": 30,
    "trainer/bfloat16, channels-last, cudnn.benchmark": 45, "trainer/bfloat16, channels-last, torch.compile": 95,
    "by hand": 30, "original": 45, "graph": 45, "syncs": 75, "data": 50, "checkpoint": 35, "ranks": 45,
}  # fmt: skip
"""What each part may take, s: ten minutes in all."""
REHEARSAL_SECONDS = 240.0
"""On a CPU, where others may use it, a part is given so long, and measures for MEASURING_SECONDS."""
MEASURING_SECONDS = 0.5
LAST_LINES = 3
COMPILING = "trainer/bfloat16, channels-last, torch.compile"
"""Left out of a rehearsal unless it is named: the C++ compiler takes minutes where others use the cores."""


def run_part(name: str, device: str, size: str, rows: Path) -> str | None:
    """Run one part; returns why it failed, in its own words, or None."""
    limit = SECONDS[name] if device == "cuda" else REHEARSAL_SECONDS
    measuring = 0.6 * SECONDS[name] if device == "cuda" else MEASURING_SECONDS
    command = [
        "-m", "bench.gpu.part", name, "--device", device, "--size", size,
        "--seconds", str(measuring), "--rows", str(rows),
    ]  # fmt: skip
    command = ending_with_this([sys.executable, *command])
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with tempfile.TemporaryFile("w+") as said:
        # A session of its own, so that what it starts ends with it.
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return f"took longer than {limit:.0f} s"
        finally:
            end_session(process)
        said.seek(0)
        lines = [line.strip() for line in said.read().splitlines() if line.strip()]
    return None if code == 0 else f"exit code {code}: {' / '.join(lines[-LAST_LINES:])}"


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End all that is left of a part."""
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def machine_rows(device: str) -> list[Row]:
    """What was measured on."""
    rows = [Row("machine", "torch", torch.__version__, "", f"Python {platform.python_version()}, {load_text()}")]
    if device == "cuda":
        found = torch.cuda.get_device_properties(0)
        about = f"{found.total_memory / 2**30:.0f} GiB, {found.multi_processor_count} multiprocessors"
        cudnn = torch.backends.cudnn.version()
        versions = f"CUDA {torch.version.cuda}, cuDNN {cudnn}, {torch.cuda.device_count()} GPUs"
        rows.append(Row("machine", found.name, about, "", versions))
    return rows


def main() -> int:
    """Run all parts; returns the number of those that failed."""
    names = [name for name in PARTS if name in SECONDS]
    quick = [name for name in names if name != COMPILING]
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=tuple(SIZES), default=None, help="real on a GPU, else small")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", choices=names)
    given = parser.parse_args()
    size = given.size or ("real" if given.device == "cuda" else "small")
    began, failures = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        path = Path(folder, "rows.jsonl")
        for name in given.only or (names if given.device == "cuda" else quick):
            if (reason := run_part(name, given.device, size, path)) is not None:
                failures.append(Row(name, "FAILED", "–", "", reason))
            sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {name}: {reason or 'done'}\n")
        rows = read_rows(path)
    text = as_table([*machine_rows(given.device), *rows, *derived(rows), *failures])
    title = f"{size} size on {given.device}" + (
        "" if given.device == "cuda" else ", a rehearsal: its figures say nothing"
    )
    text = f"{title}, {time.monotonic() - began:.0f} s:\n\n{text}"
    sys.stdout.write(text)
    if given.out:
        with given.out.open("a") as file:
            file.write("\n" + text)
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
